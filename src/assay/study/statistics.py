"""Means with bootstrap intervals, and whether an explainer beats a random map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from assay.core.noise import derive

__all__ = ["BETTER", "NEITHER", "WORSE", "Interval", "bootstrap", "bootstrap_pieces", "summarise", "summarise_pieces"]

BETTER, NEITHER, WORSE = "better than random", "no better than random", "worse than random"
_RESAMPLES = 2000
_ROWS = 4096
"""Rows that are resampled together, which bounds the memory."""


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
    return bootstrap_pieces([values], rows, columns, seed, resamples)


def bootstrap_pieces(pieces: Iterable[np.ndarray], rows: int, columns: int, seed: int, resamples: int = _RESAMPLES) -> list[Interval]:
    """`bootstrap` of rows that come in pieces, in memory that does not grow with them; how they are cut changes nothing.

    Args:
        pieces: (some rows, columns) float, one after another.
        rows: Rows in all.
        columns: Columns of each piece.
        seed: Decides the resamples.
        resamples: Number of resamples.
    """
    if not rows or not columns:
        return [Interval(np.nan, np.nan, np.nan)] * columns
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "bootstrap")))
    sizes = [min(_ROWS, rows - start) for start in range(0, rows, _ROWS)]
    # A draw of rows is first a draw of how many fall into each chunk, then a draw within each.
    many = generator.multinomial(rows, [size / rows for size in sizes], size=resamples) if len(sizes) > 1 else np.full((resamples, 1), rows)
    total, counts = np.zeros(columns), np.zeros(columns)
    drawn_total, drawn_counts = np.zeros((resamples, columns)), np.zeros((resamples, columns))
    for chunk, values in enumerate(_even(pieces, sizes)):
        known = np.isfinite(values)
        filled = np.where(known, values, 0.0)
        total += filled.sum(0)
        counts += known.sum(0)
        step = max(1, (1 << 22) // len(values))
        for start in range(0, resamples, step):
            part = slice(start, start + step)
            weights = generator.multinomial(many[part, chunk], np.full(len(values), 1 / len(values))).astype(float)
            drawn_total[part] += weights @ filled
            drawn_counts[part] += weights @ known.astype(float)
    with np.errstate(invalid="ignore"):
        means = drawn_total / drawn_counts
    found = []
    for column in range(columns):
        if not counts[column]:
            found.append(Interval(np.nan, np.nan, np.nan))
            continue
        # One value says nothing of how far another would lie.
        low, high = np.nanquantile(means[:, column], [0.025, 0.975]) if counts[column] > 1 else (np.nan, np.nan)
        found.append(Interval(float(total[column] / counts[column]), float(low), float(high)))
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
    tables = []
    for measure in scores["measure"].unique(maintain_order=True):
        part = scores.filter(pl.col("measure") == measure)
        wide = part.pivot(on="explainer", index="image", values="value", maintain_order=True)
        names = [name for name in wide.columns if name not in ("image", floor)]
        values = wide.select(*names, floor).to_numpy().astype(float)
        direction = {measure: part["direction"][0] == "higher"}
        tables.append(summarise_pieces(lambda values=values: [values[:, :, None]], names, direction, seed))  # type: ignore[misc]
    return pl.concat(tables)


def summarise_pieces(
    pieces: Callable[[], Iterable[np.ndarray]], explainers: Sequence[str], measures: Mapping[str, bool], seed: int
) -> pl.DataFrame:
    """`summarise` of scores that come in pieces, in memory that does not grow with the images.

    Args:
        pieces: Gives, each time it is called, arrays (some images, explainers and then the random map, measures).
        explainers: The explainers' names, without the random map.
        measures: The measures' names, and whether higher is better.
        seed: Decides the bootstrap's resamples.

    Returns:
        Columns as those of `summarise`.
    """
    shape = len(measures), len(explainers)
    counts, rows = np.zeros(shape, int), 0
    for piece in pieces():
        rows += len(piece)
        counts += np.isfinite(piece[:, :-1]).sum(0).T
    width = shape[0] * (2 * shape[1] + 1)
    intervals = bootstrap_pieces(map(_with_differences, pieces()), rows, width, seed)
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
                    "count": int(counts[line, place]),
                }
            )
    return pl.DataFrame(table, infer_schema_length=None)


def _with_differences(piece: np.ndarray) -> np.ndarray:
    """(images, measures x (explainers, floor, and each explainer's difference to the floor)) of a piece."""
    values = piece.transpose(0, 2, 1).astype(float)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        differences = values[:, :, :-1] - values[:, :, -1:]
    return np.concatenate([values, differences], 2).reshape(len(piece), -1)


def _even(pieces: Iterable[np.ndarray], sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """The rows of all pieces in pieces of the given sizes."""
    held: list[np.ndarray] = []
    wanted = iter(sizes)
    size = next(wanted)
    for piece in pieces:
        while sum(map(len, held)) + len(piece) >= size:
            cut = size - sum(map(len, held))
            yield np.concatenate([*held, piece[:cut]])
            held, piece = [], piece[cut:]
            size = next(wanted, 0)
            if not size:
                return
        held.append(piece)


def _verdict(difference: Interval, higher_is_better: bool) -> str:
    """One of the three verdicts, or none where there is nothing to compare."""
    if np.isnan(difference.low):
        return ""
    low, high = (difference.low, difference.high) if higher_is_better else (-difference.high, -difference.low)
    if low > 0:
        return BETTER
    return WORSE if high < 0 else NEITHER
