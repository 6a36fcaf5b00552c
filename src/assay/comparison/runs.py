"""Two runs side by side: what was asked, and what came out, on the images that both have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from assay.errors import DataError
from assay.run.arrays import MAPS, open_maps
from assay.run.settings_file import differences
from assay.run.status import Wrong, read_document, written
from assay.stats.intervals import Interval, means

__all__ = ["Pairing", "RunComparison", "compare_runs"]

_SEPARATE = ("report.html",)
"""Results that say when and on which machine, and so differ between runs that are the same."""

_FLOOR = "RandomMap"
"""What tables call the random map, which each run's scores are held against."""


@dataclass(frozen=True)
class Pairing:
    """One explainer by one measure in both runs.

    Scores are those above the random map's of the same image in the same run, where a run has one: raw scores of two models, or of two
    sets of images, differ also where no explainer does better.

    Attributes:
        explainer: Its name.
        measure: Its name; "cosine distance" of the two runs' maps where there are maps and no scores.
        images: How many both runs have.
        first: Mean of the first run.
        second: Mean of the second.
        difference: Second less first, image by image.
    """

    explainer: str
    measure: str
    images: int
    first: Interval
    second: Interval
    difference: Interval


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side.

    Attributes:
        identical: Whether every file that holds results, read again, is the same in both, bit by bit, and what its run wrote.
        settings: Each setting that is not the same: its name, the first run's value and the second's.
        lines: One for each explainer and measure that both have.
        alone: Explainers and measures that only one has, in words.
        wrong: Files that are missing or not what their run wrote, in words.
    """

    identical: bool
    settings: tuple[tuple[str, str, str], ...]
    lines: tuple[Pairing, ...]
    alone: tuple[str, ...]
    wrong: tuple[str, ...] = ()


def compare_runs(first: Path, second: Path) -> RunComparison:
    """Compare two runs of `assay audit`, of `assay frontier` or of `assay explain`.

    Raises:
        DataError: A folder is no run's, a file of it is damaged, or there is nothing in common to compare.
    """
    try:
        return _compare(first, second)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, pl.exceptions.PolarsError) as error:
        if isinstance(error, DataError):
            raise
        told = " ".join(str(error).splitlines()[:1])
        raise DataError(f"cannot compare {first} and {second}: a file cannot be read: {told}; `assay run verify` tells more") from error


def _compare(first: Path, second: Path) -> RunComparison:
    documents = [read_document(folder) for folder in (first, second)]
    asked = [{"assay": one["assay"], **one["settings"]} for one in documents]
    if documents[0]["command"] != documents[1]["command"]:
        raise DataError(f"{first} is a run of assay {documents[0]['command']}, {second} of assay {documents[1]['command']}")
    hashes, wrong = zip(*map(_results, (first, second)), strict=True)
    told = [f"{one} in the {which}" for which, ones in zip(("first", "second"), wrong, strict=True) for one in ones]
    changed = tuple(differences(*asked))
    if all((folder / MAPS).exists() for folder in (first, second)):
        lines, alone = list(_maps(first, second)), _alone(*({(name, "") for name in _names(folder)} for folder in (first, second)))
    else:
        tables = _scores(first), _scores(second)
        keys = [dict.fromkeys(table.select("explainer", "measure").unique(maintain_order=True).collect().rows()) for table in tables]
        lines = [_line(tables, explainer, measure) for explainer, measure in keys[0] if (explainer, measure) in keys[1]]
        alone = _alone(*map(set, keys))
    return RunComparison(hashes[0] == hashes[1] and bool(hashes[0]) and not told, changed, tuple(lines), alone, tuple(told))


def _results(folder: Path) -> tuple[dict[str, str], list[Wrong]]:
    """Hashes of the files that hold results, as they are now, and which are not what was written."""
    found, wrong = written(folder)
    own = {name: digest for name, digest in found.items() if name not in _SEPARATE}
    return own, [one for one in wrong if one.what not in _SEPARATE]


def _scores(folder: Path) -> pl.LazyFrame:
    """Scores by explainer and measure; of `assay frontier` every quantity of every smoothed explainer."""
    for name in ("scores", "frontier"):
        whole, parts = folder / f"{name}.parquet", sorted((folder / "parts" / name).glob("*.parquet"))
        if whole.exists() or parts:
            rows = pl.scan_parquet(whole if whole.exists() else parts)
            smoothed = pl.format("{}, kernel {}", "explainer", "kernel").alias("explainer")
            return rows if name == "scores" else rows.with_columns(smoothed, pl.col("quantity").alias("measure"))
    raise DataError(f"{folder} holds no scores and no maps yet")


def _line(tables: tuple[pl.LazyFrame, pl.LazyFrame], explainer: str, measure: str) -> Pairing:
    one, two = (_above(table, explainer, measure, name) for table, name in zip(tables, ("one", "two"), strict=True))
    values = one.join(two, on="image", maintain_order="left").select("one", "two").collect().to_numpy()
    with np.errstate(invalid="ignore"):  # infinity less infinity
        intervals = means(np.column_stack([values, values[:, 1] - values[:, 0]]))
    return Pairing(explainer, measure, len(values), *intervals)


def _above(table: pl.LazyFrame, explainer: str, measure: str, name: str) -> pl.LazyFrame:
    """Scores by image, as a column of that name, less the random map's; as they are of the random map, and where there is none."""
    own, floor = (
        table.filter((pl.col("explainer") == which) & (pl.col("measure") == measure)).select("image", pl.col("value").alias(column))
        for which, column in ((explainer, name), (_FLOOR, "floor"))
    )
    if explainer == _FLOOR or floor.limit(1).collect().is_empty():
        return own
    return own.join(floor, on="image", how="left", maintain_order="left").select("image", pl.col(name) - pl.col("floor"))


def _maps(first: Path, second: Path) -> Iterator[Pairing]:
    """The distance 1 - cosine of the two runs' maps; each run's own column holds the mean size (L2) of its maps."""
    groups = open_maps(first), open_maps(second)
    numbers = [np.asarray(group["index"]).tolist() for group in groups]
    places = {number: at for at, number in enumerate(numbers[1]) if number >= 0}
    pairs = [(at, places[number]) for at, number in enumerate(numbers[0]) if number in places]
    for name in _names(first):
        if name in _names(second):
            rows = [_apart(groups[0][name], groups[1][name], *pair) for pair in pairs]
            values = np.array(rows).reshape(-1, 3)
            yield Pairing(name, "cosine distance", int(np.isfinite(values[:, 2]).sum()), *means(values))


def _apart(one: Any, two: Any, here: int, there: int) -> tuple[float, float, float]:
    first, second = (np.asarray(array[at], np.float64).ravel() for array, at in ((one, here), (two, there)))
    sizes = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if first.shape != second.shape:
        return *sizes, float("nan")
    if np.array_equal(first, second):
        return *sizes, 0.0
    return *sizes, 1 - float(first @ second) / (sizes[0] * sizes[1]) if all(sizes) else 1.0


def _names(folder: Path) -> list[str]:
    return [name for name in open_maps(folder) if name not in ("index", "targets")]


def _alone(first: set[tuple[str, str]], second: set[tuple[str, str]]) -> tuple[str, ...]:
    def words(keys: set[tuple[str, str]], which: str) -> list[str]:
        return [f"{explainer}{' by ' + measure if measure else ''} is only in the {which}" for explainer, measure in sorted(keys)]

    return (*words(first - second, "first"), *words(second - first, "second"))
