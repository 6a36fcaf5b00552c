"""Scores of maps and of what each of the four questions holds them against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from assay.stats.tests import Above
from assay.study.audit.nulls import ANOTHER, CONTROL_NAMES, ELSEWHERE, FLIPPED, LAST, OWN, RANDOM

__all__ = ["QUESTIONS", "WAYS", "Hardest", "HeldScores", "Rated"]

QUESTIONS = ("where", "this image", "this model", "more than the image")
WAYS = 2
"""In which a control may be beaten: by the score, or by what the place adds to it."""


@dataclass(frozen=True)
class Rated:
    """What answers need to know of a measure."""

    name: str
    higher_is_better: bool
    category: str
    needs_truth: bool


@dataclass(frozen=True, eq=False)
class Hardest:
    """The hardest of what a question holds a map against.

    Attributes:
        ways: Tests of the ways in which it may be beaten, one of which is enough; the one passed most surely first.
        among: Of how many it is the hardest; all of them must be beaten.
    """

    ways: tuple[Above, ...]
    among: int

    @property
    def best(self) -> Above:
        """The test that decides whether it is beaten."""
        return self.ways[0]


@dataclass(frozen=True, eq=False)
class HeldScores:
    """Scores of maps and of what they are held against. Tests, which do not depend on the other measures, are made once.

    Attributes:
        values: (images, items, measures), higher being better.
        places: Of each item (whose map, which kind) on the second axis.
    """

    values: np.ndarray
    places: Mapping[tuple[str, str], int]
    _tests: dict[tuple[object, ...], Above] = field(default_factory=dict, init=False, repr=False)
    _hardest: dict[tuple[object, ...], Hardest] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of_measures(cls, values: np.ndarray, items: Sequence[tuple[str, str]], measures: Sequence[Rated]) -> HeldScores:
        """Of scores (images, items, measures) as they were measured, whichever direction is better."""
        signs = np.array([1.0 if one.higher_is_better else -1.0 for one in measures])
        return cls(values * signs, {item: at for at, item in enumerate(items)})

    def of(self, name: str, kind: str, at: int) -> np.ndarray:
        """(images,) scores of one item by one measure."""
        found: np.ndarray = self.values[:, self.places[name, kind], at]
        return found

    def against(self, name: str, kind: str, at: int) -> Above:
        """Whether a map scores above another kind of it; nothing to compare where there is none."""
        key = name, kind, at
        if key not in self._tests:
            null = self.of(name, kind, at) if (name, kind) in self.places else np.full(len(self.values), np.nan)
            with np.errstate(invalid="ignore"):  # infinity less infinity
                self._tests[key] = Above.of(self.of(name, OWN, at) - null)
        return self._tests[key]

    def hardest(self, name: str, question: str, at: int, blind: bool) -> Hardest:
        """The hardest of what a question holds a map against, each in the easiest of the ways there are."""
        key = name, question, at, blind
        if key not in self._hardest:
            nulls = self._against(name, question, at, blind)
            ways = (tuple(sorted(map(Above.of, one), key=lambda way: way.hardness)) for one in nulls)
            self._hardest[key] = Hardest(max(ways, key=lambda own: own[0].hardness), len(nulls))
        return self._hardest[key]

    def _against(self, name: str, question: str, at: int, blind: bool) -> list[tuple[np.ndarray, ...]]:
        """Own less each of what the question holds it against."""
        own = self.of(name, OWN, at)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            if question == "where":
                return [(own - self.of(name, kind, at),) for kind in ([ELSEWHERE] if blind else [ELSEWHERE, FLIPPED])]
            if question == "this image":
                return [(own - self.of(name, ANOTHER, at),)]
            if question == "this model":
                random, kept = self.of(name, RANDOM, at), self.of(name, LAST, at)
                # What most maps do not lose with the last layer is no work of that layer: there is no difference at all.
                same = np.isfinite(kept).sum() * 2 > np.isfinite(own).sum() > 0
                return [(np.where(np.isfinite(own - random), 0.0, np.nan) if same else own - random,)]
            # Fine grain erases an image by its texture alone, a smooth map has most to lose elsewhere: either comparison may be unfair.
            gain = own - self.of(name, ELSEWHERE, at)
            controls = [other for other in CONTROL_NAMES if (other, OWN) in self.places]
            scores = [(self.of(one, OWN, at), self.of(one, ELSEWHERE, at)) for one in controls]
            return [(own - there, gain - (there - elsewhere)) for there, elsewhere in scores]

    def only(self, rows: np.ndarray) -> HeldScores:
        """Of these images alone."""
        return HeldScores(self.values[rows], self.places)
