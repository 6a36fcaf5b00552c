"""Scores of two audits, paired by image: how far each explainer stands from its null in both, and whether that changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from assay.errors import DataError
from assay.stats.intervals import LEVEL, Moments
from assay.stats.tests import holm, holm_levels

__all__ = ["IMPROVED", "UNCHANGED", "WORSENED", "paired", "predictions"]

IMPROVED, WORSENED, UNCHANGED = "better", "worse", "no change shown"
_SCHEMA: dict[str, pl.DataType] = {
    "explainer": pl.String(),
    "measure": pl.String(),
    "higher_is_better": pl.Boolean(),
    "images": pl.Int64(),
    "first": pl.Float64(),
    "second": pl.Float64(),
    "first_gain": pl.Float64(),
    "second_gain": pl.Float64(),
    "difference": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "p": pl.Float64(),
    "outcome": pl.String(),
}


def paired(first: pl.DataFrame, second: pl.DataFrame, floor: str) -> pl.DataFrame:
    """One row for each explainer and measure that both score.

    A gain is an image's score less that of a random map of the same model and image, turned so that positive is better: raw scores of two
    models are on two scales. The difference is the second gain less the first, image by image, with an interval and two-sided p after Holm.

    Args:
        first: Long table of scores: image, explainer, measure, value, direction.
        second: Another.
        floor: Name of the random map's explainer in both.

    Returns:
        Columns explainer, measure, higher_is_better, images, first, second (means), first_gain, second_gain (mean gains), difference, low,
        high, p, outcome ("better", "worse" or "no change shown" of the second).

    Raises:
        DataError: They have no image, or no explainer and measure, in common.
    """
    tables = [_gains(one, floor) for one in (first, second)]
    both = tables[0].join(tables[1], on=("image", "explainer", "measure"), suffix="_second", maintain_order="left")
    if both.is_empty():
        raise DataError(
            "the two have no image with a score by the same explainer and measure; compare audits of the same images and explainers"
        )
    rows, differences = [], []
    for (explainer, measure), part in both.group_by("explainer", "measure", maintain_order=True):
        gains = part.select("gain", "gain_second").to_numpy()
        with np.errstate(invalid="ignore"):  # infinity less infinity
            difference = gains[:, 1] - gains[:, 0]
        known = np.isfinite(difference)
        values = part.select("value", "value_second").to_numpy()[known]
        row = {"explainer": explainer, "measure": measure, "higher_is_better": part["direction"][0] == "higher", "images": int(known.sum())}
        row |= dict(zip(("first", "second"), _means(values), strict=True))
        row |= dict(zip(("first_gain", "second_gain"), _means(gains[known]), strict=True))
        rows.append(row)
        differences.append(Moments.of(difference[:, None]))
    p = [2 * min(float(one.above()[0]), float(_turned(one).above()[0])) if one.count[0] > 1 else np.nan for one in differences]
    levels, corrected = holm_levels(p), holm([min(1.0, one) for one in p])
    for row, one, level, own in zip(rows, differences, levels, corrected, strict=True):
        low, high = one.interval(float(level))
        mean = float(one.mean[0])
        outcome = UNCHANGED if not own < LEVEL else IMPROVED if mean > 0 else WORSENED
        row |= {"difference": mean, "low": float(low[0]), "high": float(high[0]), "p": own, "outcome": outcome}
    return pl.DataFrame(rows, schema=_SCHEMA)


def predictions(first: pl.DataFrame, second: pl.DataFrame) -> Mapping[str, int]:
    """How the predictions of the images that both have go together.

    Args:
        first: Status table: image, predicted class, whether that is right (null where unknown).
        second: Another.

    Returns:
        Counts: images (both predicted), same, labelled, first right, second right, gained (wrong, then right), lost.
    """
    both = first.join(second, on="image", suffix="_second").drop_nulls(["predicted", "predicted_second"])
    known = both.drop_nulls(["right", "right_second"])
    right = known.select(one="right", two="right_second")
    return {
        "images": both.height,
        "same": int((both["predicted"] == both["predicted_second"]).sum()),
        "labelled": known.height,
        "first right": int(right["one"].sum()),
        "second right": int(right["two"].sum()),
        "gained": int((~right["one"] & right["two"]).sum()),
        "lost": int((right["one"] & ~right["two"]).sum()),
    }


def _gains(scores: pl.DataFrame, floor: str) -> pl.DataFrame:
    """Scores with how far each is on the good side of the random map's of its image; the random map's own rows left out."""
    base = scores.filter(pl.col("explainer") == floor).select("image", "measure", pl.col("value").alias("floor"))
    sign = pl.when(pl.col("direction") == "higher").then(1.0).otherwise(-1.0)
    own = scores.filter(pl.col("explainer") != floor).join(base, on=("image", "measure"), maintain_order="left")
    return own.with_columns(((pl.col("value") - pl.col("floor")) * sign).alias("gain"))


def _means(values: np.ndarray) -> list[float]:
    return [float(one) for one in values.mean(0)] if len(values) else [np.nan, np.nan]


def _turned(one: Moments) -> Moments:
    return Moments(one.count, -one.mean, one.spread, -one.skew)
