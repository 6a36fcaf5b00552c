"""The scores of an audit as parts of a page: the table, the intervals, and what each measure says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from assay.errors import DataError
from assay.report.page import Part

__all__ = ["VERDICTS", "MeasureNote", "MeasureNotes", "ScoreStrips", "ScoreTable", "Summary"]

VERDICTS = {"better than random": "better", "not shown to be better than random": "same", "worse than random": "worse"}
"""The verdicts a summary may hold, and the short cue of each. A missing or empty verdict means that none was reached."""

_MEANS = ("mean", "low", "high", "floor", "floor_low", "floor_high")
_COLUMNS = ("explainer", "measure", "higher_is_better", *_MEANS, "verdict", "count")


@dataclass(frozen=True)
class MeasureNote:
    """What a reader must know of one measure.

    Attributes:
        category: Its family.
        direction: Which direction is good.
        meaning: What it says.
        reference: Its paper.
        attacks: Whether it asks what an attack leaves of the maps.
    """

    category: str
    direction: str
    meaning: str
    reference: str
    attacks: bool = False


@dataclass(frozen=True, eq=False)
class Summary:
    """Means of all scores with what a reader must know of the measures.

    Attributes:
        frame: One row for each explainer and measure: explainer, measure, higher_is_better, mean, low and high (the mean's
            interval), floor, floor_low and floor_high (the same of a random map), verdict (a key of `VERDICTS`) and count.
        notes: A note for every measure of the frame.
        best: Explainers not shown to be worse than the best, by measure; measures that are not named mark none.

    Raises:
        DataError: The frame lacks a column, a row is there twice, a verdict is unknown or a measure has no note.
    """

    frame: pl.DataFrame
    notes: Mapping[str, MeasureNote]
    best: Mapping[str, tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        missing = [name for name in _COLUMNS if name not in self.frame.columns]
        if missing:
            raise DataError(f"the summary lacks the columns {', '.join(missing)}")
        if self.frame.select("explainer", "measure").is_duplicated().any():
            raise DataError("the summary has two rows for one explainer and measure; aggregate it first")
        unknown = set(self.frame["measure"]) - self.notes.keys()
        if unknown:
            raise DataError(f"no note for the measures {', '.join(sorted(unknown))}; add them to the page's measures")
        strange = {verdict for verdict in self.frame["verdict"] if verdict} - VERDICTS.keys()
        if strange:
            raise DataError(f"unknown verdicts {', '.join(sorted(strange))}; use {', '.join(VERDICTS)}")


@dataclass(frozen=True, eq=False)
class ScoreTable(Part):
    """Explainers down, measures across."""

    summary: Summary

    template: ClassVar[str] = "scores.html.j2"


@dataclass(frozen=True, eq=False)
class ScoreStrips(Part):
    """Each measure's means as lines with a dot, over the band of a random map."""

    summary: Summary

    template: ClassVar[str] = "strips.html.j2"


@dataclass(frozen=True, eq=False)
class MeasureNotes(Part):
    """What the measures say, and their papers."""

    summary: Summary

    template: ClassVar[str] = "measures.html.j2"
