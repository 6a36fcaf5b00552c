"""Statistics of a sweep over widths: paired changes, trends, and the knee; pure functions over arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from assay.core.noise import derive
from assay.stats.intervals import LEVEL
from assay.stats.tests import holm
from assay.stats.trends import ROUNDING, Trend, trend

__all__ = ["FREE_WITHIN", "LEVEL", "ROUNDING", "Bend", "TradeOutcome", "Trend", "bend", "holm", "outcome", "resampled", "trend"]

TradeOutcome = Literal["gains", "free", "costs", "undecided"]

FREE_WITHIN = 0.05
"""The largest loss that still counts as none, as a share of the value at width 0."""
_RESAMPLES = 2000


@dataclass(frozen=True)
class Bend:
    """Where a trade-off bends: the place of the width, its height above the chord, and the share of resamples with the same place."""

    place: int
    height: float
    support: float


def resampled(values: np.ndarray, seed: int, resamples: int = _RESAMPLES) -> np.ndarray:
    """Means (resamples, columns) of columns over bootstrap resamples of the rows, NaN left out of their column.

    All columns share their resamples, so functions of several of them keep their pairing. The means of n rows are spread out about theirs
    by sqrt(n / (n - 1)) and by Student's t over the normal quantile, without which 95% intervals of a dozen rows cover about 90%.

    Args:
        values: (rows, columns).
        seed: Decides the resamples.
        resamples: Their number.

    Source: Hesterberg, The American Statistician 2015 (expanded percentile intervals).
    """
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "bootstrap")))
    known = np.isfinite(values)
    filled, rows = np.where(known, values, 0.0), len(values)
    found = np.empty((resamples, values.shape[1]))
    step = max(1, (1 << 22) // max(rows, 1))
    for start in range(0, resamples, step):
        part = found[start : start + step]
        weights = generator.multinomial(rows, np.full(rows, 1 / rows), size=len(part)).astype(float)
        with np.errstate(invalid="ignore"):
            part[:] = (weights @ filled) / (weights @ known.astype(float))
    counts = known.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(0) / counts
        wider = (
            np.sqrt(counts / (counts - 1)) * scipy.special.stdtrit(np.maximum(counts - 1, 1), LEVEL / 2) / scipy.special.ndtri(LEVEL / 2)
        )
        spread: np.ndarray = mean + np.where(counts > 1, wider, 1.0) * (found - mean)
    return spread


def outcome(low: float, high: float, size: float, tolerance: float = FREE_WITHIN) -> TradeOutcome:
    """What the interval of a paired improvement says.

    Args:
        low: Lower end of the improvement (below 0: a loss).
        high: Upper end.
        size: The value at width 0, which losses are held against.
        tolerance: Share of it that still counts as no loss.
    """
    rounding = ROUNDING * abs(size)
    if low > rounding:
        return "gains"
    if high < -rounding:
        return "costs"
    return "free" if low >= -max(tolerance * abs(size), rounding) else "undecided"


def bend(robust: np.ndarray, faithful: np.ndarray, seed: int) -> Bend | None:
    """The knee of a trade-off: the width whose mean lies furthest above the chord between the first and the last.

    Both means are scaled so that the chord goes from (0, 1) to (1, 0); the height is robustness + faithfulness - 1. There is no knee
    where robustness does not rise or faithfulness does not fall from the first width to the last, which is no trade-off, nor where
    the lower end of the 95% bootstrap interval of the height is not above 0.

    Args:
        robust: (images, widths), higher being better, widths ascending; NaN where unknown.
        faithful: The same of a notion of faithfulness.
        seed: Decides the resamples.

    Source: Satopaa, Albrecht, Irwin, Raghavan 2011 (Kneedle), scaled by the ends and without its smoothing and sensitivity.
    """
    widths = robust.shape[1]
    both = np.concatenate([robust, faithful], 1)
    if widths < 3 or not np.isfinite(both).any(0).all():
        return None
    heights = _heights(np.nanmean(both, 0)[None], widths)[0]
    place = int(heights.argmax())
    if heights[place] <= 0:
        return None
    drawn = _heights(resampled(both, seed), widths)
    if np.quantile(drawn[:, place], LEVEL / 2, method="lower") <= 0:
        return None
    return Bend(place, float(heights[place]), float((drawn.argmax(1) == place).mean()))


def _heights(means: np.ndarray, widths: int) -> np.ndarray:
    """Heights (rows, widths) above the chord; -1 at its ends and where there is no trade-off."""
    robust, faithful = means[:, :widths], means[:, widths:]
    up, down = robust[:, -1:] - robust[:, :1], faithful[:, :1] - faithful[:, -1:]
    traded = (up > 0) & (down > 0)
    one, other = np.where(traded, up, 1.0), np.where(traded, down, 1.0)
    heights = (robust - robust[:, :1]) / one + (faithful - faithful[:, -1:]) / other - 1
    heights[:, [0, -1]] = -1.0
    return np.where(traded, heights, -1.0)
