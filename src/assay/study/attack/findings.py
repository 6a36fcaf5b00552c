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
from assay.stats.intervals import means
from assay.study.study import Asked, Done, Grid

if TYPE_CHECKING:
    from assay.study.attack.attack import AttackStudy

__all__ = ["attack_grid", "attack_page", "attack_summary"]

_STEADY = 0.5
"""What noise leaves of a map below which it takes no attack to change it."""
_KINDS = ("left_after_noise", "left", "gap")


def attack_summary(table: pl.DataFrame) -> pl.DataFrame:
    """One row per explainer: means and 95 % intervals after noise, after the attack and of the paired difference.

    An explainer is `fragile` when the interval of the difference lies above 0.

    Args:
        table: A row per image and explainer, with what is left after the attack and after noise.
    """
    rows = []
    for (explainer, attack), part in table.group_by("explainer", "attack", maintain_order=True):
        noise, left = part["left_after_noise"].to_numpy(), part["left"].to_numpy()
        found = means(np.stack([noise, left, noise - left], 1))
        row: dict[str, Any] = {"explainer": explainer, "attack": attack, "images": len(part)}
        for kind, one in zip(_KINDS, found, strict=True):
            row |= {kind: one.mean, f"{kind}_low": one.low, f"{kind}_high": one.high}
        rows.append(row | {"fragile": bool(found[2].low > 0), "kept": float(part["kept"].mean() or 0.0)})  # type: ignore[arg-type]
    return pl.DataFrame(rows)


def attack_grid(summary: pl.DataFrame) -> Grid:
    """The summary as a table for the terminal."""
    rows = (
        (
            row["explainer"],
            *(f"{row[kind]:.3f}\n{row[f'{kind}_low']:.3f}-{row[f'{kind}_high']:.3f}" for kind in ("left_after_noise", "left")),
            "yes" if row["fragile"] else "no",
            f"{row['kept']:.1%}",
        )
        for row in summary.iter_rows(named=True)
    )
    head = ("explainer", "after noise", "after the attack", "fragile", "prediction kept")
    return Grid("what is left of the maps: mean and 95 % interval", head, tuple(rows))


def attack_page(study: AttackStudy, asked: Asked, done: Done, summary: pl.DataFrame, views: tuple[AttackView, ...]) -> AttackPage:
    """The report.

    Args:
        study: What was done.
        asked: On what.
        done: All blocks.
        summary: As `attack_summary` makes it.
        views: Attacked images to show.
    """
    rows, model, attack = list(summary.iter_rows(named=True)), asked.model, study.usual
    return AttackPage(
        title="Can these explanations be bent while the prediction stays?",
        model=f"{asked.name}, its {model.output.replace('_', ' ')}, in {model.precision} on {model.device.type}",
        data=str(done.answers["data"].get("name")),
        images=done.tally.sound,
        attack=f"{short(attack)}, {attack.ball_words}",
        similarity=f"Similarity is 1 - {study.compare!r}",
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
            "attack": repr(attack),
            "for explainers without derivatives": repr(study.otherwise),
            "compared by": repr(study.compare),
            "seed": str(asked.seed),
            "rule": "fragile: the 95 % interval of the paired difference between noise and attack lies above 0",
        },
        record=done.answers,
        problems=tuple(done.tally.problems),
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
