"""The first screen of a report: what it answers, in a few cards of plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ScreenCard", "Tone"]

Tone = Literal["good", "caution", "bad", "note"]


@dataclass(frozen=True)
class ScreenCard:
    """One question and its answer.

    Attributes:
        question: As the reader would ask it.
        tone: good, caution, bad or note.
        answer: The answer in a sentence or two.
        lines: What stands behind it, and names of explainers in the order of the page.
    """

    question: str
    tone: Tone
    answer: str
    lines: tuple[str, ...] = ()
