"""Means with bootstrap intervals, and whether an explainer beats a random map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from assay.core.noise import derive

__all__ = ["BETTER", "NEITHER", "WORSE", "Interval", "bootstrap", "summarise"]

BETTER, NEITHER, WORSE = "better than random", "no better than random", "worse than random"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; NaN when there is nothing to average, and no interval of a single value."""

    mean: float
    low: float
    high: float


def bootstrap(values: np.ndarray, seed: int, resamples: int = _RESAMPLES) -> list[Interval]:
    """Means of columns with percentile bootstrap 95 % intervals over the rows.

    All columns share their resamples, so differences of columns are paired. NaN entries are left out of their column.

    Args:
        values: (rows, columns) float.
        seed: Decides the resamples.
        resamples: Number of resamples.
    """
    rows, columns = values.shape
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    if not rows or not columns:
        return [Interval(np.nan, np.nan, np.nan)] * columns
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "bootstrap")))
    means = np.empty((resamples, columns))
    step = max(1, (1 << 22) // rows)
    for start in range(0, resamples, step):
        many = min(step, resamples - start)
        weights = generator.multinomial(rows, np.full(rows, 1 / rows), size=many).astype(float)
        with np.errstate(invalid="ignore"):
            means[start : start + many] = (weights @ filled) / (weights @ known.astype(float))
    counts = known.sum(0)
    found = []
    for column in range(columns):
        if not counts[column]:
            found.append(Interval(np.nan, np.nan, np.nan))
            continue
        # One value says nothing of how far another would lie.
        low, high = np.nanquantile(means[:, column], [0.025, 0.975]) if counts[column] > 1 else (np.nan, np.nan)
        found.append(Interval(float(filled[:, column].sum() / counts[column]), float(low), float(high)))
    return found


def summarise(scores: pl.DataFrame, floor: str, seed: int) -> pl.DataFrame:
    """One row for each explainer and measure of a long table of scores.

    An explainer is better (worse) than random where the interval of its paired difference to the random map lies on
    the good (bad) side of zero.

    Args:
        scores: Columns image, explainer, measure, value, direction.
        floor: Name of the explainer that is the random map; it gets no row of its own.
        seed: Decides the bootstrap's resamples.

    Returns:
        Columns explainer, measure, higher_is_better, mean, low, high, floor, floor_low, floor_high, verdict, count.
    """
    rows = []
    for measure in scores["measure"].unique(maintain_order=True):
        part = scores.filter(pl.col("measure") == measure)
        wide = part.pivot(on="explainer", index="image", values="value", maintain_order=True)
        names = [name for name in wide.columns if name not in ("image", floor)]
        values = wide.select(*names, floor).to_numpy().astype(float)
        ground = values[:, -1:]
        up = part["direction"][0] == "higher"
        with np.errstate(invalid="ignore"):  # infinity less infinity
            differences = values[:, :-1] - ground
        intervals = bootstrap(np.hstack([values, differences]), seed)
        base = intervals[len(names)]
        for place, name in enumerate(names):
            one, difference = intervals[place], intervals[len(names) + 1 + place]
            rows.append(
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
                    "verdict": _verdict(difference, up),
                    "count": int(np.isfinite(values[:, place]).sum()),
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _verdict(difference: Interval, higher_is_better: bool) -> str:
    """One of the three verdicts, or none where there is nothing to compare."""
    if np.isnan(difference.low):
        return ""
    low, high = (difference.low, difference.high) if higher_is_better else (-difference.high, -difference.low)
    if low > 0:
        return BETTER
    return WORSE if high < 0 else NEITHER
