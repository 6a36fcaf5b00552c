"""Whether values rise or fall over ordered widths, when images vary and when they all move together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

__all__ = ["ROUNDING", "Trend", "trend"]

ROUNDING = 1e-5
"""Changes below this share of the values are rounding."""


@dataclass(frozen=True)
class Trend:
    """How a quantity moves with the width.

    Attributes:
        rank_correlation: Mean over the images of Spearman's correlation of their values with the width, in [-1, 1]; Page's L, rescaled.
        page_p: Two-sided p-value of Page's test.
        images_p: Two-sided p-value for other images at these widths: the larger of Page's and of a t test of the images' own correlations.
        p: Two-sided p-value for the widths too: the larger of `images_p` and, where the images move together, of a t test of the mean
            curve's steps; NaN for fewer than two images.
        images: Images without a gap.
    """

    rank_correlation: float
    page_p: float
    images_p: float
    p: float
    images: int


def trend(values: np.ndarray) -> Trend:
    """Test whether values rise or fall with the width.

    Page's null hypothesis takes each image's values for exchangeable. Values at neighbouring widths go together, which makes that
    test too ready to call a trend, so the images' own rank correlations, which are independent of each other, must agree by a t test.
    Images that all move together are no independent witnesses either: their mean curve may wander as one. Where its steps vary by more
    than the images' own spread explains, the mean step must be away from 0 by a t test over the steps, which is exact for a random walk.
    With two widths Page's test is the sign test, and there is one step.

    Args:
        values: (images, widths), widths ascending; images with a NaN are left out, differences within rounding of an image's largest
            value are ties.

    Source: Page, JASA 1963; ties share their mean rank.
    """
    known = values[np.isfinite(values).all(1)]
    images, widths = known.shape
    if images < 2 or widths < 2:
        return Trend(np.nan, np.nan, np.nan, np.nan, images)
    grid = ROUNDING * np.abs(known).max(1, keepdims=True)
    ranks = scipy.stats.rankdata(np.round(known / np.where(grid == 0, 1.0, grid)), axis=1)
    centred, order = ranks - ranks.mean(1, keepdims=True), np.arange(widths) - (widths - 1) / 2
    sizes = np.sqrt((centred**2).sum(1) * (order**2).sum())
    own = (centred @ order) / np.where(sizes == 0, 1.0, sizes)
    page = _page(ranks)
    spread = own.std(ddof=1)
    between = page if spread == 0 else max(page, 2 * float(scipy.special.stdtr(images - 1, -abs(own.mean()) / (spread / np.sqrt(images)))))
    return Trend(float(own.mean()), page, between, max(between, _together(known)), images)


def _together(values: np.ndarray) -> float:
    """Two-sided p-value of the mean curve's steps for a random walk; 0 where the images' own spread explains how the steps vary."""
    steps = np.diff(values, axis=1)
    images, many = steps.shape
    mean = steps.mean(0)
    if many < 2 or mean.var(ddof=1) <= (steps.var(0, ddof=1) / images).mean():
        return 0.0
    return float(scipy.stats.ttest_1samp(mean, 0.0).pvalue)


def _page(ranks: np.ndarray) -> float:
    """Two-sided p-value of Page's test, of the sign test for two widths."""
    if ranks.shape[1] == 2:
        up, down = int((ranks[:, 1] > ranks[:, 0]).sum()), int((ranks[:, 1] < ranks[:, 0]).sum())
        return float(scipy.stats.binomtest(up, up + down).pvalue) if up + down else 1.0
    sides = (float(scipy.stats.page_trend_test(one).pvalue) for one in (ranks, -ranks))
    return min(1.0, 2 * min(sides))
