"""Whether two orders agree, whether a curve over ordered widths is best somewhere inside, and which rows are even."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from assay.stats.intervals import Floats, Moments
from assay.stats.tests import holm

__all__ = ["Inside", "even_rows", "inside", "rank_correlation"]

_EXACT = 8
"""Values up to which all orders are tried."""
_ORDERS = 99_999
"""How many orders are drawn of more values."""
_EVEN = 0.01
"""Values of a row that differ by no more than this share of the largest are the same."""


def rank_correlation(one: ArrayLike, other: ArrayLike) -> tuple[float, float]:
    """Spearman's correlation and its one-sided permutation p-value: how often a random pairing is at least as alike.

    Exact over all orders for up to eight values; above, over 99,999 orders drawn at random with the order itself (Phipson and Smyth 2010),
    so never below 1e-5. NaN for fewer than three, or without variation.

    Args:
        one: (n,) values.
        other: (n,) values paired with them.
    """
    ranks = [scipy.stats.rankdata(np.asarray(values, float)) for values in (one, other)]
    count = len(ranks[0])
    if count < 3 or min(np.ptp(rank) for rank in ranks) == 0:
        return float("nan"), float("nan")
    centred = [rank - rank.mean() for rank in ranks]
    size = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    rho = float(centred[0] @ centred[1]) / size
    if count > _EXACT:
        drawn = np.random.default_rng(0).permuted(np.tile(centred[1], (_ORDERS, 1)), axis=1)
        orders = np.concatenate([centred[1][None], drawn])
    else:
        orders = np.array(list(itertools.permutations(centred[1])))
    return rho, float(((orders @ centred[0]) / size >= rho - 1e-9).mean())


@dataclass(frozen=True)
class Inside:
    """Whether a curve is better somewhere inside than at either end.

    Attributes:
        best: The place of the largest mean, 0 being the first width.
        place: The inner place whose smaller gain over the two ends is surest.
        gains: Its mean gains over the first and the last.
        p: p-value that no inner place gains on both ends, after Holm over the inner places; NaN without any.
        against: p-value that neither end is above every inner place, twice the smaller of the ends'.
    """

    best: int
    place: int
    gains: tuple[float, float]
    p: float
    against: float


def inside(values: ArrayLike) -> Inside:
    """Test whether some inner column is above the first and above the last, image by image.

    An inner place counts by the larger of its two one-sided p-values (an intersection-union test).

    Args:
        values: (images, widths), widths ascending, higher being better; rows with a gap are left out.
    """
    table: Floats = np.asarray(values, float)
    table = table[np.isfinite(table).all(1)]
    if len(table) < 2 or table.shape[1] < 3:
        return Inside(0, 0, (float("nan"), float("nan")), float("nan"), float("nan"))
    inner = table[:, 1:-1]
    ends = [inner - table[:, [place]] for place in (0, -1)]
    p = np.maximum(*(Moments.of(one).above() for one in ends))
    place = int(p.argmin())
    gains = (float(ends[0][:, place].mean()), float(ends[1][:, place].mean()))
    against = min(1.0, 2 * min(float(Moments.of(-one).above().max()) for one in ends))
    return Inside(int(table.mean(0).argmax()), place + 1, gains, min(holm(p)), against)


def even_rows(values: Floats) -> int:
    """How many rows (rows, columns) of two finite values or more have the same one everywhere, within a hundredth of the largest."""
    rows = values[np.isfinite(values).sum(1) > 1]
    if not len(rows):
        return 0
    span, size = np.nanmax(rows, 1) - np.nanmin(rows, 1), np.nanmax(np.abs(rows), 1)
    return int((span <= _EVEN * size).sum())
