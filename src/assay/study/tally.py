"""What the status of all images comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from assay.run.paths import UNREAD

__all__ = ["OK", "Tally", "tally"]

OK = "ok"
_LISTED = 1000
"""Problems that a report lists; status.csv has all."""


@dataclass
class Tally:
    """What the status of all images comes to.

    Attributes:
        images: Images in all.
        read: Images that could be read.
        sound: Images without any problem.
        first: Position of the first image whose output is finite, or None.
        pairs: How many images have each (label, predicted class), where both are known.
        problems: (name, what was wrong), the first thousand.
        troubled: How many have a problem.
        findings: Where an image may have several labels: images that have any, those that are right in all, findings, right ones.
    """

    images: int = 0
    read: int = 0
    sound: int = 0
    first: int | None = None
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    troubled: int = 0
    findings: tuple[int, int, int, int] = (0, 0, 0, 0)

    def few(self, most: int = 3) -> str:
        """The first few problems in words."""
        more = f"; and {self.troubled - most} more" if self.troubled > most else ""
        return "; ".join(f"{name}: {text}" for name, text in self.problems[:most]) + more


def tally(tables: Iterable[pl.DataFrame]) -> Tally:
    """Count the rows of the blocks' tables of status."""
    found = Tally()
    for part in tables:
        states, names, read = (part[column].to_list() for column in ("status", "name", "read"))
        finite = part["predicted"].is_not_null()
        if found.first is None and finite.any():
            found.first = found.images + int(finite.arg_max() or 0)
        found.images += len(part)
        found.read += sum(read)
        found.sound += states.count(OK)
        found.troubled += len(states) - states.count(OK)
        lines = zip(names, states, read, strict=True)
        wrong = [(name, state if there else state[len(UNREAD) :]) for name, state, there in lines if state != OK]
        found.problems += wrong[: _LISTED - len(found.problems)]
        if "findings" in part.columns:
            told = part.drop_nulls(["findings", "predicted"]).filter(pl.col("findings") > 0)
            many, right = told["findings"], told["findings right"]
            images, whole, findings, correct = found.findings
            alike = len(told.filter(pl.col("findings") == pl.col("findings right")))
            found.findings = (images + len(told), whole + alike, findings + sum(many.to_list()), correct + sum(right.to_list()))
        known = part.drop_nulls(["label", "predicted"])
        found.pairs.update(zip(known["label"].to_list(), known["predicted"].to_list(), strict=True))
    return found
