"""What attacks on many images come to: means with intervals, which explainers are fragile, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from assay.core.registry import short
from assay.report.attack import AttackView
from assay.report.attack_page import AttackPage, AttackRow
from assay.report.page import Sentence
from assay.study.statistics import bootstrap

if TYPE_CHECKING:
    from assay.study.attack import Attacking
    from assay.study.findings import Tally

__all__ = ["attack_page", "attack_summary"]

_STEADY = 0.5
"""What noise leaves of a map below which it takes no attack to change it."""
_KINDS = ("left_after_noise", "left", "gap")


def attack_summary(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """One row per explainer: means and 95 % intervals after noise, after the attack and of the paired difference.

    An explainer is `fragile` when the interval of the difference lies above 0.

    Args:
        table: A row per image and explainer, with what is left after the attack and after noise.
        seed: Decides the resamples.
    """
    rows = []
    for (explainer, attack), part in table.group_by("explainer", "attack", maintain_order=True):
        noise, left = part["left_after_noise"].to_numpy(), part["left"].to_numpy()
        found = bootstrap(np.stack([noise, left, noise - left], 1), seed)
        row: dict[str, Any] = {"explainer": explainer, "attack": attack, "images": len(part)}
        for kind, one in zip(_KINDS, found, strict=True):
            row |= {kind: one.mean, f"{kind}_low": one.low, f"{kind}_high": one.high}
        rows.append(row | {"fragile": bool(found[2].low > 0), "kept": float(part["kept"].mean() or 0.0)})  # type: ignore[arg-type]
    return pl.DataFrame(rows)


def attack_page(
    plan: Attacking, summary: pl.DataFrame, counted: Tally, views: tuple[AttackView, ...], name: str, answers: Mapping[str, Any]
) -> AttackPage:
    """The report.

    Args:
        plan: What was done.
        summary: As `attack_summary` makes it.
        counted: What the status of all images comes to.
        views: Attacked images to show.
        name: What the reader calls the model.
        answers: The seven reproducibility answers.
    """
    rows = list(summary.iter_rows(named=True))
    return AttackPage(
        title="Can these explanations be bent while the prediction stays?",
        model=f"{name}, its {plan.model.output.replace('_', ' ')}, in {plan.model.precision} on {plan.model.device.type}",
        data=str(answers["data"].get("name")),
        images=counted.sound,
        attack=f"{short(plan.attack)}, {plan.attack.ball_words}",
        similarity=f"Similarity is 1 - {plan.distance!r}",
        verdict=tuple(map(_sentence, rows)),
        rows=tuple(
            AttackRow(
                row["explainer"],
                _interval(row, "left_after_noise"),
                _interval(row, "left"),
                _interval(row, "gap"),
                row["fragile"],
                f"{row['kept']:.1%}",
            )
            for row in rows
        ),
        views=views,
        settings={
            "attack": repr(plan.attack),
            "for explainers without derivatives": repr(plan.otherwise),
            "compared by": repr(plan.distance),
            "seed": str(plan.seed),
            "rule": "fragile: the 95 % interval of the paired difference between noise and attack lies above 0",
        },
        record=answers,
        problems=tuple(counted.problems),
    )


def _sentence(row: Mapping[str, Any]) -> Sentence:
    if not row["fragile"] and row["left_after_noise"] < _STEADY:
        text = f"{row['explainer']} needs no attack: noise of the same size leaves {row['left_after_noise']:.2f} of a map."
        return Sentence("bad", text)
    if not row["fragile"]:
        return Sentence("good", f"{row['explainer']}: the attack takes no more of the maps than noise of the same size does.")
    return Sentence(
        "bad",
        f"{row['explainer']} is fragile: {row['left']:.2f} of a map is left after the attack, {row['left_after_noise']:.2f} after noise of "
        "the same size, the prediction being kept.",
    )


def _interval(row: Mapping[str, Any], kind: str) -> str:
    if np.isnan(row[f"{kind}_low"]):
        return f"{row[kind]:.3f}"
    return f"{row[kind]:.3f} ({row[f'{kind}_low']:.3f} to {row[f'{kind}_high']:.3f})"
