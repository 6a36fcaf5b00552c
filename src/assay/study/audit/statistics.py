"""The summary of an audit's scores: means with intervals, and whether an explainer beats a random map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from assay.stats.intervals import Interval, Moments, listed

__all__ = ["BETTER", "NEITHER", "WORSE", "summarise"]

BETTER, NEITHER, WORSE = "better than random", "not shown to be better than random", "worse than random"


def summarise(pieces: Callable[[], Iterable[np.ndarray]], explainers: Sequence[str], measures: Mapping[str, bool]) -> pl.DataFrame:
    """One row for each explainer and measure, in memory that does not grow with the images.

    An explainer is better (worse) than random where the interval of its paired difference to the random map lies on
    the good (bad) side of zero.

    Args:
        pieces: Gives, each time it is called, arrays (some images, explainers and then the random map, measures).
        explainers: The explainers' names, without the random map.
        measures: The measures' names, and whether higher is better.

    Returns:
        Columns explainer, measure, higher_is_better, mean, low, high, floor, floor_low, floor_high, verdict, count.
    """
    shape = len(measures), len(explainers)
    width = shape[0] * (2 * shape[1] + 1)
    found = Moments.of_pieces(lambda: map(_with_differences, pieces()), width)
    intervals = listed(found)
    table = []
    for line, (measure, up) in enumerate(measures.items()):
        own = intervals[line * (2 * shape[1] + 1) : (line + 1) * (2 * shape[1] + 1)]
        base, differences = own[shape[1]], own[shape[1] + 1 :]
        for place, name in enumerate(explainers):
            one = own[place]
            table.append(
                {
                    "explainer": name,
                    "measure": measure,
                    "higher_is_better": up,
                    "mean": one.mean,
                    "low": one.low,
                    "high": one.high,
                    "floor": base.mean,
                    "floor_low": base.low,
                    "floor_high": base.high,
                    "verdict": _verdict(differences[place], up),
                    "count": int(found.count[line * (2 * shape[1] + 1) + place]),
                }
            )
    return pl.DataFrame(table, infer_schema_length=None)


def _with_differences(piece: np.ndarray) -> np.ndarray:
    """(images, measures x (explainers, floor, and each explainer's difference to the floor)) of a piece."""
    values = piece.transpose(0, 2, 1).astype(float)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        differences = values[:, :, :-1] - values[:, :, -1:]
    return np.concatenate([values, differences], 2).reshape(len(piece), -1)


def _verdict(difference: Interval, higher_is_better: bool) -> str:
    """One of the three verdicts, or none where there is nothing to compare."""
    if np.isnan(difference.low):
        return ""
    low, high = (difference.low, difference.high) if higher_is_better else (-difference.high, -difference.low)
    if low > 0:
        return BETTER
    return WORSE if high < 0 else NEITHER
