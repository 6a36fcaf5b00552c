"""Statistics of a sweep over widths: paired changes, trends, and the knee; pure functions over arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from assay.core.noise import derive

__all__ = ["LEVEL", "SAME", "TOLERANCE", "Bend", "Outcome", "Trend", "bend", "holm", "outcome", "resampled", "trend"]

Outcome = Literal["gains", "free", "costs", "undecided"]

LEVEL = 0.05
"""Of all tests; intervals are of 1 - LEVEL."""
TOLERANCE = 0.05
"""The largest loss that still counts as none, as a share of the value at width 0."""
SAME = 1e-5
"""Changes below this share of the values are rounding."""
_RESAMPLES = 2000


@dataclass(frozen=True)
class Trend:
    """How a quantity moves with the width.

    Attributes:
        rank_correlation: Mean over the images of Spearman's correlation of their values with the width, in [-1, 1]; Page's L, rescaled.
        page_p: Two-sided p-value of Page's test.
        p: Two-sided p-value, the larger of Page's and of a t test of the images' own correlations; NaN for fewer than two images.
        images: Images without a gap.
    """

    rank_correlation: float
    page_p: float
    p: float
    images: int


@dataclass(frozen=True)
class Bend:
    """Where a trade-off bends: the place of the width, its height above the chord, and the share of resamples with the same place."""

    place: int
    height: float
    support: float


def trend(values: np.ndarray) -> Trend:
    """Test whether values rise or fall with the width, image by image.

    Page's null hypothesis takes each image's values for exchangeable. Values at neighbouring widths go together, which makes that
    test too ready to call a trend (`tests/study/test_frontier_statistics.py`), so the images' own rank correlations, which are
    independent of each other, must agree by a t test. With two widths Page's test is the sign test.

    Args:
        values: (images, widths), widths ascending; images with a NaN are left out, differences within rounding of an image's largest
            value are ties.

    Source: Page, JASA 1963; ties share their mean rank.
    """
    known = values[np.isfinite(values).all(1)]
    images, widths = known.shape
    if images < 2 or widths < 2:
        return Trend(np.nan, np.nan, np.nan, images)
    grid = SAME * np.abs(known).max(1, keepdims=True)
    ranks = stats.rankdata(np.round(known / np.where(grid == 0, 1.0, grid)), axis=1)
    centred, order = ranks - ranks.mean(1, keepdims=True), np.arange(widths) - (widths - 1) / 2
    sizes = np.sqrt((centred**2).sum(1) * (order**2).sum())
    own = (centred @ order) / np.where(sizes == 0, 1.0, sizes)
    page = _page(ranks)
    spread = own.std(ddof=1)
    if spread == 0:
        return Trend(float(own[0]), page, page, images)
    between = 2 * float(stats.t.sf(abs(own.mean()) / (spread / np.sqrt(images)), images - 1))
    return Trend(float(own.mean()), page, max(page, between), images)


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number; NaN stays NaN and does not count.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    values = np.asarray(p, float)
    found = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[values[known].argsort(kind="stable")]
    found[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return [float(one) for one in found]


def resampled(values: np.ndarray, seed: int, resamples: int = _RESAMPLES) -> np.ndarray:
    """Means (resamples, columns) of columns over bootstrap resamples of the rows, NaN left out of their column.

    All columns share their resamples, so functions of several of them keep their pairing.

    Args:
        values: (rows, columns).
        seed: Decides the resamples.
        resamples: Their number.
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
    return found


def outcome(low: float, high: float, size: float, tolerance: float = TOLERANCE) -> Outcome:
    """What the interval of a paired improvement says.

    Args:
        low: Lower end of the improvement (below 0: a loss).
        high: Upper end.
        size: The value at width 0, which losses are held against.
        tolerance: Share of it that still counts as no loss.
    """
    rounding = SAME * abs(size)
    if low > rounding:
        return "gains"
    if high < -rounding:
        return "costs"
    return "free" if low >= -max(tolerance * abs(size), rounding) else "undecided"


def bend(robust: np.ndarray, faithful: np.ndarray, seed: int) -> Bend | None:
    """The knee of a trade-off: the width whose mean lies furthest above the chord between the first and the last.

    Both means are scaled so that the chord goes from (0, 1) to (1, 0); the height is robustness + faithfulness - 1. There is no knee
    where robustness does not rise or faithfulness does not fall from the first width to the last, which is no trade-off, nor where
    the lower end of the 95 % bootstrap interval of the height is not above 0.

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


def _page(ranks: np.ndarray) -> float:
    """Two-sided p-value of Page's test, of the sign test for two widths."""
    if ranks.shape[1] == 2:
        up, down = int((ranks[:, 1] > ranks[:, 0]).sum()), int((ranks[:, 1] < ranks[:, 0]).sum())
        return float(stats.binomtest(up, up + down).pvalue) if up + down else 1.0
    sides = (float(stats.page_trend_test(one).pvalue) for one in (ranks, -ranks))
    return min(1.0, 2 * min(sides))
