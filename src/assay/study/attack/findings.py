"""What attacks on many images come to: means with intervals, which explainers are fragile, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from assay.attack.base import Attack
from assay.attack.distances import Distance
from assay.core.registry import short
from assay.report.attack_views import Attacks, AttackView
from assay.report.page import Page, Section, Sentence, TextTable
from assay.report.text import between, plural
from assay.stats.intervals import LEVEL, Moments, means
from assay.stats.tests import holm, images_needed
from assay.study.study import Asked, Done, TerminalTable

__all__ = ["Attacking", "attack_grid", "attack_page", "attack_sentences", "attack_summary"]

_STEADY = 0.5
"""What noise leaves of a map below which it takes no attack to change it."""
_MARGIN = 0.05
"""What an attack may take of a map more than noise does, and still count as no more."""
_KINDS = ("left_after_noise", "left", "gap")
_LEAD = (
    "How much of a map is left when its image is changed too little to see and the model predicts the same? "
    "An explainer is called fragile here only when the attack takes more of its maps than random changes of the same size do."
)
_RULES = (
    f"Fragile: the paired difference between noise and attack lies above 0, one-sided p below {LEVEL:g} after Holm's correction over the "
    f"explainers. No more than noise: it is shown in the same way to be below {_MARGIN:g}. Else undecided."
)


def attack_summary(table: pl.DataFrame) -> pl.DataFrame:
    """One row per explainer: means and 95% intervals after noise, after the attack and of the paired difference; and what that says.

    An explainer is `fragile` when the difference lies above 0, p below 0.05 after Holm's correction over the explainers. `outcome` is
    "fragile", "steady" where the attack is shown to take less than 0.05 of a map more than noise does, else "undecided", where
    `needed` says how many images would show a difference as large as that found, if any number would.

    Args:
        table: A row per image and explainer, with what is left after the attack and after noise.
    """
    parts = table.group_by("explainer", "attack", maintain_order=True)
    gaps = [(part["left_after_noise"] - part["left"]).to_numpy() for _, part in parts]
    higher = holm([float(Moments.of(gap[:, None]).above()[0]) for gap in gaps])
    less = holm([float(Moments.of(_MARGIN - gap[:, None]).above()[0]) for gap in gaps])
    rows = []
    for ((explainer, attack), part), gap, up, down in zip(parts, gaps, higher, less, strict=True):
        noise, left = part["left_after_noise"].to_numpy(), part["left"].to_numpy()
        row: dict[str, Any] = {"explainer": explainer, "attack": attack, "images": len(part)}
        for kind, one in zip(_KINDS, means(np.stack([noise, left, gap], 1)), strict=True):
            row |= {kind: one.mean, f"{kind}_low": one.low, f"{kind}_high": one.high}
        needed = images_needed(float(Moments.of(gap[:, None]).effect[0]), LEVEL / len(gaps))
        said = {"fragile": up < LEVEL, "outcome": "fragile" if up < LEVEL else "steady" if down < LEVEL else "undecided", "needed": needed}
        rows.append(row | said | {"kept": float(part["kept"].to_numpy().mean())})
    return pl.DataFrame(rows, schema_overrides={"needed": pl.Int64})


def attack_grid(summary: pl.DataFrame) -> TerminalTable:
    """The summary as a table for the terminal."""
    rows = (
        (
            row["explainer"],
            *(f"{row[kind]:.3f} ({row[f'{kind}_low']:.3f} to {row[f'{kind}_high']:.3f})" for kind in ("left_after_noise", "left")),
            "yes" if row["fragile"] else "no",
            f"{row['kept']:.1%}",
        )
        for row in summary.iter_rows(named=True)
    )
    head = ("explainer", "after noise", "after the attack", "fragile", "prediction kept")
    return TerminalTable("what is left of the maps: means", head, tuple(rows))


@dataclass(frozen=True)
class Attacking:
    """What maps are attacked by.

    Attributes:
        usual: What attacks explainers with derivatives.
        otherwise: What attacks the others.
        compare: What maps are compared by.
    """

    usual: Attack
    otherwise: Attack
    compare: Distance


def attack_page(by: Attacking, asked: Asked, done: Done, summary: pl.DataFrame, views: tuple[AttackView, ...]) -> Page:
    """The report, of a summary as `attack_summary` makes it."""
    model, attack = asked.model, by.usual
    sections = [Section("What is left of the maps", "", (_table(by, summary),), "scores")]
    if views:
        sections.append(Section("Attacked maps", "", (Attacks(views),), "attacks"))
    return Page(
        title="Can these explanations be bent while the prediction stays?",
        kind="attack on explanations",
        facts={
            "Model": asked.name,
            "Images": str(done.answers["data"].get("name")),
            "Attacked": plural(done.tally.sound, "image"),
            "Attack": f"{short(attack)}, {attack.ball_words}",
        },
        lead=_LEAD,
        verdict=attack_sentences(summary),
        rules=_RULES,
        sections=tuple(sections),
        settings={
            "attack": repr(attack),
            "for explainers without derivatives": repr(by.otherwise),
            "compared by": repr(by.compare),
            "explained": f"the {model.output.replace('_', ' ')} of {asked.targets.words}",
            "precision": f"{model.precision} on {model.device.type}",
            "seed": str(asked.seed),
        },
        record=done.answers,
        problems=tuple(done.tally.problems),
        explainers=tuple(summary["explainer"].unique(maintain_order=True)),
    )


def attack_sentences(summary: pl.DataFrame) -> tuple[Sentence, ...]:
    """The verdict: a sentence for each explainer.

    Args:
        summary: As `attack_summary` makes it.
    """
    return tuple(map(_sentence, summary.iter_rows(named=True)))


def _table(by: Attacking, summary: pl.DataFrame) -> TextTable:
    lines = tuple(
        (
            row["explainer"],
            *(_interval(row, kind) for kind in _KINDS),
            "yes" if row["fragile"] else "no",
            f"{row['kept']:.1%}",
        )
        for row in summary.iter_rows(named=True)
    )
    note = f"Similarity is 1 - {by.compare!r}; means with 95% intervals. 1 is the clean map itself."
    head = ("explainer", "after noise", "after the attack", "the attack takes more by", "fragile", "prediction kept")
    return TextTable("Left of the maps.", note, head, lines, (False, True, True, True, False, True))


def _sentence(row: Mapping[str, Any]) -> Sentence:
    name, left, after = row["explainer"], row["left"], row["left_after_noise"]
    if row["outcome"] == "fragile":
        told = f"{left:.2f} of a map is left after the attack, {after:.2f} after noise of the same size, the prediction being kept"
        return Sentence("bad", f"{name} is fragile: {told}.")
    if after < _STEADY:
        return Sentence("bad", f"{name} needs no attack: noise of the same size leaves {after:.2f} of a map.")
    if row["outcome"] == "steady":
        return Sentence("good", f"{name}: the attack takes no more of the maps than noise of the same size does, within {_MARGIN:g}.")
    would = f"; about {row['needed']:,} images would show it" if row["needed"] and row["needed"] > row["images"] else ""
    told = f"{left:.2f} of a map is left after the attack, {after:.2f} after noise of the same size"
    return Sentence("caution", f"{name} is undecided: {told}, which {plural(row['images'], 'image')} cannot tell apart{would}.")


def _interval(row: Mapping[str, Any], kind: str) -> str:
    return f"{row[kind]:.3f}{between(row[f'{kind}_low'], row[f'{kind}_high'], '{:.3f}'.format)}"
