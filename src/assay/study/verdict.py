"""Plain words for what an audit found, by rules that are written here and shown in the report."""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from assay.report.page import MeasureNote, Sentence, Tone
from assay.study.statistics import BETTER

__all__ = ["RULES", "verdict"]

FRAGILE = 0.5
FEW = 30
RULES = (
    "An explainer beats the random map on a measure when the 95 % interval of the paired difference lies on the good side of zero. "
    "It is called trustworthy here when it beats the random map on every faithfulness measure, doubtful when on some, untrustworthy "
    f"when on none. Its maps are called unstable when noise too small to see changes them by more than {FRAGILE:.0%} of their size. "
    "They are called fragile when less of them is left under an attack than under noise of its size, the 95 % intervals being apart."
)


def verdict(summary: pl.DataFrame, notes: Mapping[str, MeasureNote], images: int) -> tuple[Sentence, ...]:
    """Sentences for the top of the report, most important first.

    Args:
        summary: As `summarise` makes it.
        notes: A note for each measure.
        images: Number of images scored.
    """
    found = [*_faithfulness(summary, notes), *_localisation(summary, notes), *_robustness(summary, notes)]
    found += [*_attacked(summary), *_not_attacked(summary, images), *_disagreement(summary, notes)]
    if images < FEW:
        scored = f"{_count(images, 'image')} {'was' if images == 1 else 'were'}"
        found.append(
            Sentence(
                "caution",
                f"Only {scored} scored: intervals are wide; take {FEW} or more before you rely on this.",
            )
        )
    return tuple(found)


def _rows(summary: pl.DataFrame, notes: Mapping[str, MeasureNote], category: str) -> pl.DataFrame:
    return summary.filter(pl.col("measure").is_in([name for name, note in notes.items() if note.category == category]))


def _faithfulness(summary: pl.DataFrame, notes: Mapping[str, MeasureNote]) -> list[Sentence]:
    rows = _rows(summary, notes, "faithfulness").filter(pl.col("verdict") != "")
    if rows.is_empty():
        return []
    sound, doubtful, useless = [], [], []
    for (name,), own in rows.group_by("explainer", maintain_order=True):
        failed = own.filter(pl.col("verdict") != BETTER)["measure"].to_list()
        if not failed:
            sound.append(str(name))
        elif len(failed) == len(own):
            useless.append(str(name))
        else:
            doubtful.append(f"{name} (not by {_listed(failed)})")
    names = rows["measure"].unique(maintain_order=True).to_list()
    tests = f"{len(names)} faithfulness measures"
    all_tests = f"all {tests}" if len(names) > 1 else f"the one faithfulness measure ({names[0]})"
    none_of = f"none of the {tests}" if len(names) > 1 else f"nothing that was measured ({names[0]})"
    sentences = []
    if sound:
        sentences.append(
            Sentence("good", f"Trustworthy by {all_tests}: {_listed(sound)} tell{_s(sound)} more about the model than a random map does.")
        )
    if doubtful:
        sentences.append(Sentence("caution", f"Doubtful: {_listed(doubtful)} beat{_s(doubtful)} a random map only on some of the {tests}."))
    if useless:
        sentences.append(Sentence("bad", f"Not trustworthy: {_listed(useless)} beat{_s(useless)} a random map on {none_of}."))
    return sentences


def _localisation(summary: pl.DataFrame, notes: Mapping[str, MeasureNote]) -> list[Sentence]:
    rows = _rows(summary, notes, "localisation").drop_nans("mean")
    if rows.is_empty():
        return []
    best = rows.sort("mean", descending=True).row(0, named=True)
    interval = "" if math.isnan(best["low"]) else f" ({best['low']:.2f} to {best['high']:.2f})"
    text = (
        f"Against known evidence, {best['explainer']} agrees best: overlap {best['mean']:.2f}{interval}, a random map {best['floor']:.2f}."
    )
    lost = rows.filter(~pl.col("verdict").is_in([BETTER, ""]))["explainer"].to_list()
    if lost:
        text += f" No better than random: {_listed(lost)}."
    tone: Tone = "good" if best["verdict"] == BETTER else "bad" if best["verdict"] else "note"
    return [Sentence(tone, text)]


def _robustness(summary: pl.DataFrame, notes: Mapping[str, MeasureNote]) -> list[Sentence]:
    rows = _rows(summary, notes, "robustness").filter(pl.col("measure").str.starts_with("MaxSensitivity")).drop_nans("mean")
    unstable = [f"{row['explainer']} ({row['mean']:.0%})" for row in rows.iter_rows(named=True) if row["mean"] > FRAGILE]
    if rows.is_empty():
        return []
    if not unstable:
        return [Sentence("good", "Noise too small to see changes no explainer's maps by more than half of their size.")]
    text = f"Unstable: noise too small to see changes the maps of {_listed(unstable)} by more than half of their size."
    return [Sentence("caution", text)]


def _attacked(summary: pl.DataFrame) -> list[Sentence]:
    """Which explainers keep less of their maps under an attack than under noise of its size; intervals must not overlap."""
    rows = summary.filter(pl.col("measure").str.starts_with("AttackedSimilarity")).drop_nans(["low", "high"])
    noise = pl.col("measure").str.contains("attack=NoiseMapAttack", literal=True)
    floor = {row["explainer"]: row["low"] for row in rows.filter(noise).sort("low", descending=True).iter_rows(named=True)}
    fragile: dict[str, float] = {}
    for row in rows.filter(~noise).iter_rows(named=True):
        name = row["explainer"]
        if row["high"] < floor.get(name, -math.inf):
            fragile[name] = min(row["mean"], fragile.get(name, math.inf))
    if not floor:
        return []
    if not fragile:
        return [Sentence("good", "The attacks take no more of any explainer's maps than noise of their size does.")]
    left = [f"{name} ({mean:.0%} left)" for name, mean in fragile.items()]
    return [
        Sentence("bad", f"Fragile: attacks that keep the prediction take more than noise of their size of the maps of {_listed(left)}.")
    ]


def _not_attacked(summary: pl.DataFrame, images: int) -> list[Sentence]:
    """Which attacks could not be made on which explainers, for want of a gradient to climb; what stays then is not robust by that."""
    own = (pl.col("measure").str.starts_with("AttackedSimilarity")) & ~pl.col("measure").str.contains("attack=NoiseMapAttack", literal=True)
    found = []
    for row in summary.filter(own & (pl.col("count") < images)).iter_rows(named=True):
        some = "all images" if not row["count"] else f"{images - row['count']} of {_count(images, 'image')}"
        found.append(
            Sentence(
                "caution",
                f"Not attacked: {row['measure']} found no gradient to climb through {row['explainer']} on {some} (none there, or no second "
                "derivative in the network), so nothing is known of robustness there; a BlackBoxMapAttack needs none.",
            )
        )
    return found


def _disagreement(summary: pl.DataFrame, notes: Mapping[str, MeasureNote]) -> list[Sentence]:
    best = []
    for (name,), own in _rows(summary, notes, "faithfulness").group_by("measure", maintain_order=True):
        ranked = own.drop_nans("mean").filter(pl.col("verdict") == BETTER).sort("mean", descending=bool(own["higher_is_better"][0]))
        if not ranked.is_empty():
            best.append((str(name), str(ranked["explainer"][0])))
    winners = dict.fromkeys(winner for _, winner in best)
    if len(winners) < 2:
        return []
    parts = [f"{winner} by {_listed([name for name, who in best if who == winner])}" for winner in winners]
    return [
        Sentence("note", f"Faithfulness has more than one meaning; of the explainers that beat a random map, the best is {_listed(parts)}.")
    ]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _s(names: list[str]) -> str:
    """The verb's ending for one subject or several."""
    return "s" if len(names) == 1 else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
