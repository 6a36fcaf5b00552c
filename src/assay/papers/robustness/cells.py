"""From the robustness study's values per image to its cells: paired differences of twins, and what smoothing does to one explainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from assay.stats.intervals import means
from assay.study.frontier.findings import frontier_summary
from assay.study.frontier.statistics import LEVEL, holm, outcome, trend
from assay.study.frontier.sweep import PLAIN

__all__ = ["signed_rank", "smoothed_cells", "twin_cells", "width_cells"]

_CELL = ("part", "backbone", "explainer")


def twin_cells(values: pl.DataFrame) -> pl.DataFrame:
    """The robust twin against the standard one, image by image: one row for each quantity, backbone and unsmoothed explainer.

    Args:
        values: All values; parts with kernels are left to `smoothed_cells`.

    Returns:
        Columns part, backbone, explainer, quantity, kind, higher_is_better, standard, robust (means), change, change_low, change_high
        (mean paired difference with its 95 % bootstrap interval, positive meaning that the robust twin is better), p (Wilcoxon's
        signed-rank test, two-sided), p_holm (corrected over the cells of the quantity), outcome ("gains", "costs", "free",
        "undecided"; where p_holm is not below the level, a gain by the interval is free, and a cost undecided) and images.
    """
    plain = values.group_by("part").agg((pl.col("kernel") == PLAIN).all().alias("plain")).filter("plain")["part"].to_list()
    rows: list[dict[str, Any]] = []
    own = values.filter(pl.col("part").is_in(plain))
    for keys, group in own.group_by("quantity", *_CELL, maintain_order=True):
        head = dict(zip(("quantity", *_CELL), keys, strict=True)) | _facts(group)
        twins = group.pivot(on="twin", index="image", values="value", maintain_order=True)
        if not {"standard", "robust"} <= set(twins.columns):
            continue
        pairs = twins.select("standard", "robust").to_numpy()
        pairs = pairs[np.isfinite(pairs).all(1)]
        change = (pairs[:, 1] - pairs[:, 0]) * (1 if head["higher_is_better"] else -1)
        one, other, gap = means(np.column_stack([pairs, change]))
        rows.append(
            head
            | {"standard": one.mean, "robust": other.mean}
            | {"change": gap.mean, "change_low": gap.low, "change_high": gap.high, "p": signed_rank(change), "images": len(pairs)}
        )
    return _judged(pl.DataFrame(rows, infer_schema_length=None), ("quantity",), "standard")


def width_cells(values: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Each width of each smoothed explainer against width 0, image by image.

    Returns:
        The columns of `assay.study.frontier.findings.frontier_summary` beside part, model, backbone, twin and family (kind of kernel).
    """
    found = []
    for keys, group in _smoothed(values).group_by("part", "model", "explainer", "quantity", maintain_order=True):
        head = {"part": keys[0], "model": keys[1], "backbone": group["backbone"][0], "twin": group["twin"][0], "family": _family(group)}
        found.append(frontier_summary(group, seed).select(*(pl.lit(value).alias(name) for name, value in head.items()), pl.all()))
    return pl.concat(found) if found else pl.DataFrame()


def smoothed_cells(values: pl.DataFrame, widths: pl.DataFrame) -> pl.DataFrame:
    """What the widest kernel and the trend say of each quantity, model and smoothed explainer.

    Args:
        values: All values.
        widths: As `width_cells` makes them.

    Returns:
        Columns family (the kind of kernel), part, model, backbone, twin, explainer, quantity, kind, higher_is_better, width (the largest),
        alone (mean at width 0), smoothed (mean at the largest), change, change_low, change_high, loss, outcome (see
        `frontier_summary`), rank_correlation, p (`images_p` of `assay.stats.trends.trend`), p_holm (over the cells of one family, twin and
        quantity), trend ("better", "worse", "none") and images.
    """
    rows: list[dict[str, Any]] = []
    keys = ("part", "model", "explainer", "quantity")
    tests = {
        key: trend(group["value"].to_numpy().reshape(-1, group["kernel"].n_unique()) * (1 if group["higher_is_better"][0] else -1))
        for key, group in _smoothed(values).group_by(*keys, maintain_order=True)
    }
    for key, group in widths.group_by(*keys, maintain_order=True) if widths.height else ():
        first, last, test = group.row(0, named=True), group.row(-1, named=True), tests[key]
        names = ("family", *keys, "backbone", "twin", "kind", "higher_is_better", "width")
        kept = ("change", "change_low", "change_high", "loss", "outcome")
        rows.append(
            {name: last[name] for name in names}
            | {"alone": first["mean"], "smoothed": last["mean"]}
            | {name: last[name] for name in kept}
            | {"rank_correlation": test.rank_correlation, "p": test.images_p, "images": test.images}
        )
    if not rows:
        return pl.DataFrame()
    frame = _corrected(pl.DataFrame(rows, infer_schema_length=None), ("family", "twin", "quantity"))
    word = pl.when(~(pl.col("p_holm") < LEVEL) | pl.col("p_holm").is_nan()).then(pl.lit("none"))
    return frame.with_columns(word.when(pl.col("rank_correlation") > 0).then(pl.lit("better")).otherwise(pl.lit("worse")).alias("trend"))


def signed_rank(differences: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test that differences lie around 0; 1 where all are 0, NaN for fewer than two."""
    if len(differences) < 2:
        return np.nan
    return float(stats.wilcoxon(differences).pvalue) if (differences != 0).any() else 1.0


def _smoothed(values: pl.DataFrame) -> pl.DataFrame:
    kerneled = values.filter(pl.col("kernel") != PLAIN)["part"].unique().to_list()
    return values.filter(pl.col("part").is_in(kerneled))


def _family(group: pl.DataFrame) -> str:
    return str(group.filter(pl.col("kernel") != PLAIN)["kernel"][0]).partition("(")[0]


def _facts(group: pl.DataFrame) -> dict[str, Any]:
    return {name: group[name][0] for name in ("kind", "higher_is_better")}


def _corrected(frame: pl.DataFrame, family: Sequence[str]) -> pl.DataFrame:
    """With p_holm, corrected over the rows that agree in `family`; the rows keep their order."""
    parts = [
        group.with_columns(pl.Series("p_holm", holm(group["p"].to_list()), dtype=pl.Float64))
        for _, group in frame.with_row_index("place").group_by(*family, maintain_order=True)
    ]
    return pl.concat(parts).sort("place").drop("place")


def _judged(frame: pl.DataFrame, family: Sequence[str], base: str) -> pl.DataFrame:
    if frame.is_empty():
        return frame
    frame = _corrected(frame, family)
    words = []
    for row in frame.iter_rows(named=True):
        word = outcome(row["change_low"], row["change_high"], abs(row[base])) if np.isfinite(row["change_low"]) else "undecided"
        sure = np.isfinite(row["p_holm"]) and row["p_holm"] < LEVEL
        words.append(word if sure or word in ("free", "undecided") else "free" if word == "gains" else "undecided")
    return frame.with_columns(pl.Series("outcome", words, dtype=pl.String))
