"""Tests that verdicts rest on: corrections for their number, the best of several, and how many images would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy
from numpy.typing import ArrayLike

from assay.stats.intervals import LEVEL, Floats, Moments

__all__ = ["POWER", "Above", "holm", "holm_levels", "images_needed", "not_worse", "stepped"]

POWER = 0.8
"""With which a number of images is said to do."""
_MOST = 1_000_000
_SAME = 1e-7
"""Differences of no more are none but for rounding."""


@dataclass(frozen=True, eq=False)
class Above:
    """A one-sided test that the mean of differences is above 0.

    Attributes:
        differences: (count,) those that are finite.
        moments: Moments of the one column of differences.
        p: Its p-value; NaN for fewer than two differences.
        count: Differences that are finite.
        exact: Whether all of them are 0, so that no number of images would show one.
    """

    differences: np.ndarray
    moments: Moments
    p: float
    count: int
    exact: bool

    @classmethod
    def of(cls, differences: np.ndarray) -> Above:
        """The test of differences (rows,)."""
        moments, known = Moments.of(differences[:, None]), differences[np.isfinite(differences)]
        same = len(known) > 1 and bool((np.abs(known) <= _SAME).all())
        return cls(known, moments, 1.0 if same else float(moments.above()[0]), len(known), same)

    def short_of(self, effect: float) -> Above:
        """The test that the mean is below so many standard deviations.

        Both the mean and the standard deviation are estimated: each difference counts by what it adds to `effect` standard deviations less
        the mean (its influence), so that skewed differences are tested at the level too.

        Source: the delta method; Hampel, JASA 1974 (influence curves).
        """
        mean, spread = (float(one[0]) for one in (self.moments.mean, self.moments.spread))
        if not spread > 0:
            return Above.of(-self.differences)
        away = (self.differences - mean) / spread
        return Above.of(effect * spread * (1 + away**2) / 2 - self.differences)

    @property
    def decided(self) -> float:
        """p; infinite where there is none, or no difference at all."""
        return math.inf if self.exact or math.isnan(self.p) else self.p

    @cached_property
    def effect(self) -> float:
        """The mean in standard deviations."""
        return float(self.moments.effect[0])

    @cached_property
    def hardness(self) -> tuple[bool, float, float]:
        """Orders tests from the one that is passed most surely to the one that is not, or cannot be made."""
        return math.isnan(self.p), self.p, -float(np.nan_to_num(self.effect))


def holm(p: Sequence[float] | Floats) -> list[float]:
    """p-values corrected for their number; NaN stays NaN and does not count.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    values = np.asarray(p, float)
    found = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[values[known].argsort(kind="stable")]
    found[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return [float(one) for one in found]


def stepped(p: Mapping[str, float]) -> dict[str, tuple[int, float]]:
    """What Holm's procedure multiplies each p with, and the p of the claim before, below which none may fall."""
    found, before = {}, 0.0
    for place, name in enumerate(sorted(p, key=lambda name: p[name])):
        found[name] = len(p) - place, before
        before = max(before, min(1.0, p[name] * (len(p) - place)))
    return found


def holm_levels(p: Sequence[float] | Floats, level: float = LEVEL) -> Floats:
    """The level at which Holm's procedure holds each test, to make intervals that agree with it; that of the first for NaN."""
    values = np.asarray(p, float)
    known = np.isfinite(values)
    order = np.where(known, values, -1.0).argsort(kind="stable")
    place = np.empty(len(values), int)
    place[order] = np.arange(len(values)) - int((~known).sum())
    found: Floats = level / np.maximum(int(known.sum()) - np.maximum(place, 0), 1)
    return found


def not_worse(values: ArrayLike, level: float = LEVEL) -> list[int]:
    """The columns that are not shown to be worse than the column of the largest mean, itself included; paired by rows, after Holm.

    Args:
        values: (rows, columns), higher being better; columns without two values are left out.
        level: Of the tests together.
    """
    table = np.asarray(values, float)
    known = np.flatnonzero(np.isfinite(table).sum(0) > 1)
    if not len(known):
        return []
    top = known[np.nanmean(np.where(np.isfinite(table), table, np.nan)[:, known], 0).argmax()]
    others = [int(one) for one in known if one != top]
    with np.errstate(invalid="ignore"):  # infinity less infinity
        worse = holm(Moments.of(table[:, [top]] - table[:, others]).above())
    return sorted([int(top), *(one for one, p in zip(others, worse, strict=True) if not p < level)])


@lru_cache(maxsize=4096)
def images_needed(effect: float, level: float = LEVEL, power: float = POWER) -> int | None:
    """How many images show a mean of `effect` standard deviations above 0, one-sided at `level`; None where no number would.

    Args:
        effect: The mean paired difference in units of its standard deviation.
        level: That the test is held at, after a correction.
        power: The chance of success asked for.

    Source: the power of the t test by the noncentral t distribution.
    """
    if not effect > 0:
        return None
    low, high = max(2, math.ceil(-math.log2(level))), 2
    high = low
    while _power(effect, level, high) < power:
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, level, middle) >= power else (middle + 1, high)
    return high


def _power(effect: float, level: float, images: int) -> float:
    if math.isinf(effect):
        return 1.0
    return float(scipy.stats.nct.sf(-scipy.special.stdtrit(images - 1, level), images - 1, effect * math.sqrt(images)))
