"""The verdict's questions as a table: explainers down, questions across, and what each measure says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from assay.report.page import Part
from assay.report.text import number

__all__ = ["QuestionCell", "QuestionRow", "Questions"]

_WORDS = {"passes": "passes", "fails": "fails", "undecided": "undecided", "open": "could not be asked"}
_CUES = {"passes": "better", "fails": "worse", "undecided": "same", "open": "none"}


@dataclass(frozen=True)
class QuestionCell:
    """One question of one explainer.

    Attributes:
        question: Its name.
        status: passes, fails, undecided or open.
        measures: Each measure's name, why it is not asked (empty where it is), and its row of the answers' table.
    """

    question: str
    status: str
    measures: tuple[tuple[str, str, Mapping[str, Any]], ...]

    @property
    def word(self) -> str:
        """The status in words."""
        return _WORDS[self.status]

    @property
    def cue(self) -> str:
        """The sign of the status."""
        return _CUES[self.status]

    @property
    def lines(self) -> tuple[str, ...]:
        """What each measure says, in figures."""
        return tuple(_line(name, why, row) for name, why, row in self.measures)


@dataclass(frozen=True)
class QuestionRow:
    """One explainer: whether it is trusted and recommended, and its four questions."""

    explainer: str
    trusted: bool
    recommended: bool
    cells: tuple[QuestionCell, ...]


@dataclass(frozen=True)
class Questions(Part):
    """What each explainer says to the verdict's questions."""

    rows: tuple[QuestionRow, ...]

    template: ClassVar[str] = "questions.html.j2"


def _line(name: str, why: str, row: Mapping[str, Any]) -> str:
    if why:
        return f"{name}: {why}"
    if math.isnan(row["p"]):
        return f"{name}: not asked"
    p = "p < 0.001" if row["p"] < 0.001 else f"p = {row['p']:.3f}"
    would = f"; about {row['needed']:,} images would decide" if row["needed"] else ""
    figures = f"{number(row['difference'])} ({number(row['low'])} to {number(row['high'])}), {number(row['effect'], 2)} sd"
    return f"{name}: {row['status']}, {figures}, {p}{would}"
