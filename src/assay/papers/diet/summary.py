"""From the DiET study's values per image to its tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from assay.models.accuracy import Accuracy
from assay.papers.diet.outcome import BASELINE, MASK, NETWORK, Outcome
from assay.report.export import Table, wide
from assay.stats.intervals import means

__all__ = ["long_table", "summarised", "tables"]

_KEYS = ("variant", "kind", "part", "model", "attribution", "measure")
_MEANS = ("IoU", "on distractor", "kept by")
"""Beginnings of the measures whose values are not 0 or 1."""


def long_table(outcomes: Sequence[Outcome]) -> pl.DataFrame:
    """All values: variant, kind, part, model, attribution, measure, image, value."""
    return pl.concat(
        one.frame().select(pl.lit(outcome.variant).alias("variant"), pl.all()) for outcome in outcomes for one in outcome.scored
    )


def summarised(long: pl.DataFrame) -> pl.DataFrame:
    """One row for each measure of each attribution: mean, 95 % interval and number of images.

    The interval of a share (each value 0 or 1) is Wilson's; of other values it is a bootstrap over images, with the same
    resamples for all that were measured on the same images. NaN values are left out.

    Args:
        long: As `long_table` makes it.
    """
    rows = []
    for keys, group in long.group_by(_KEYS, maintain_order=True):
        values = group["value"].to_numpy()
        known = values[np.isfinite(values)]
        if len(known) and not str(keys[-1]).startswith(_MEANS):
            share = Accuracy.of(round(known.sum()), len(known))
            mean, low, high = share.value, share.low, share.high
        else:
            one = means(values[:, None])[0]
            mean, low, high = one.mean, one.low, one.high
        rows.append(dict(zip(_KEYS, keys, strict=True)) | {"mean": mean, "low": low, "high": high, "count": len(known)})
    return pl.DataFrame(rows, infer_schema_length=None)


def tables(outcomes: Sequence[Outcome], summary: pl.DataFrame, seconds: Mapping[str, float]) -> tuple[Table, ...]:
    """The study's tables, in the order of the report; the column of the data's form is there where there are several.

    Args:
        outcomes: What the forms of the data came to.
        summary: As `summarised` makes it.
        seconds: How long each step took.
    """
    several = len(outcomes) > 1
    made = [
        _faithfulness(summary),
        _simplified(summary),
        _kept(summary),
        _truth(outcomes, summary),
        _backgrounds(summary),
        _tuned_maps(summary),
        _rounds(outcomes),
        _steps(seconds),
    ]
    return tuple(_without(one, several) for one in made if one.frame.height)


def _faithfulness(summary: pl.DataFrame) -> Table:
    rows = summary.filter(pl.col("kind") == "model").with_columns(
        pl.concat_str(pl.col("measure"), pl.lit(", "), pl.col("part"), pl.lit(" images, %")).alias("column")
    )
    rows = rows.filter((pl.col("measure") != "agreement") | (pl.col("model") != BASELINE))
    frame = wide(rows, ("variant", "model"), "column")
    return Table(
        "faithfulness",
        "The tuned models on whole images.",
        "Accuracy against the labels; agreement with the class of the baseline f_b. 95 % intervals of shares by Wilson.",
        frame,
        frozenset(rows["column"]),
    )


def _simplified(summary: pl.DataFrame) -> Table:
    rows = summary.filter(pl.col("kind") == "simplified").with_columns(pl.col("measure") + ", %")
    return Table(
        "simplified",
        "The tuned models on what their masks leave of an image.",
        "Agreement is with the class of the baseline f_b on the whole image. Masks of tune images were learned while tuning, those of "
        "test images afterwards, with the model fixed; the mask network was trained on the former. Rounded masks keep what is at "
        "least one half.",
        wide(rows, ("variant", "model", "attribution", "part"), "measure"),
        frozenset(rows["measure"]),
    )


def _kept(summary: pl.DataFrame) -> Table:
    rows = summary.filter(_compared() & (pl.col("part") == "test") & pl.col("measure").str.starts_with("keep "))
    rows = rows.with_columns(pl.col("measure").str.replace(" %", "", literal=True) + " %, accuracy %")
    return Table(
        "pixels",
        "Accuracy when only the top pixels of a map are kept.",
        "The other pixels take the image's mean colour. Each map is judged by the model that it explains, on test images.",
        wide(rows, ("variant", "model", "attribution"), "measure"),
        frozenset(rows["measure"]),
    )


def _truth(outcomes: Sequence[Outcome], summary: pl.DataFrame) -> Table:
    rows = summary.filter(_compared() & pl.col("measure").is_in(("IoU", "on distractor")))
    rows = rows.with_columns((pl.col("measure") + ", " + pl.col("part") + " images").alias("column"))
    frame = wide(rows, ("variant", "model", "attribution"), "column") if rows.height else pl.DataFrame()
    if frame.height:
        each = {
            (outcome.variant, one.model, one.attribution): 1000 * one.seconds
            for outcome in outcomes
            for one in outcome.scored
            if one.kind == "maps" and one.part == "test"
        }
        times = [each[key] for key in frame.select("variant", "model", "attribution").iter_rows()]
        frame = frame.with_columns(pl.Series("ms per image", times))
    return Table(
        "truth",
        "Maps against the known evidence.",
        "IoU of the mask of the evidence with as many top pixels of the map; the share of the map's relevance that lies on the distractor; "
        "time of making one map of a test image. Bootstrap intervals over images; images without evidence are left out.",
        frame,
    )


def _backgrounds(summary: pl.DataFrame) -> Table:
    rows = summary.filter(pl.col("kind") == "erasure").with_columns(pl.col("measure") + ", %")
    return Table(
        "backgrounds",
        "Erasing what the rounded mask leaves out, before different backgrounds.",
        "How often the class is still that of the baseline f_b on the whole image; test images. The last two rows are controls: they "
        "should be near chance, or the masks, not the pixels, carry the class.",
        wide(rows, ("variant", "model", "attribution"), "measure").rename({"attribution": "what is kept"}),
        frozenset(rows["measure"]),
    )


def _tuned_maps(summary: pl.DataFrame) -> Table:
    rows = summary.filter((pl.col("kind") == "maps") & (pl.col("part") == "test") & ~pl.col("attribution").is_in((MASK, NETWORK)))
    # One share of pixels is enough here; `values.parquet` has all.
    keep = [name for name in rows["measure"].unique(maintain_order=True) if name.startswith("keep ")]
    rows = rows.filter(~pl.col("measure").is_in(keep[1:]))
    tuned = rows.filter(pl.col("model") != BASELINE)["model"].unique(maintain_order=True)
    rows = rows.filter(pl.col("attribution").is_in(rows.filter(pl.col("model").is_in(tuned))["attribution"].unique().to_list()))
    rows = rows.with_columns(pl.col("measure").str.replace(" %", " %, accuracy %", literal=True))
    rows = rows.with_columns((pl.col("measure") + ", " + pl.col("model")).alias("column"))
    order = [f"{measure}, {model}" for measure in rows["measure"].unique(maintain_order=True) for model in (BASELINE, *tuned)]
    frame = wide(rows, ("variant", "attribution"), "column") if len(tuned) else pl.DataFrame()
    shown = [name for column in order for name in frame.columns if name.removesuffix(" low").removesuffix(" high") == column]
    return Table(
        "tuned-maps",
        "The same explainers on the baseline and on the tuned model.",
        "IoU with the evidence, share of the relevance on the distractor, and accuracy when only the top pixels are kept; test images.",
        frame.select("variant", "attribution", *shown) if len(tuned) else frame,
        frozenset(column for column in order if column.startswith("keep ")),
    )


def _rounds(outcomes: Sequence[Outcome]) -> Table:
    names = {
        "kept": "kept by rounded masks, %",
        "on_images": "agreement, images, %",
        "simplified": "agreement, simplified, %",
        "elsewhere": "agreement, other backgrounds, %",
        "base": "f_b on simplified, %",
    }
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        for method, facts in outcome.rounds.items():
            for one in facts:
                line = {"variant": outcome.variant, "model": method, "round": one["round"], "taken": bool(one["chosen"])}
                rows.append(line | {title: one.get(key) for key, title in names.items()} | {"IoU, tune images": one.get("IoU")})
    return Table(
        "rounds",
        "Round by round, on the tune images.",
        "The round that is taken is chosen by the agreements alone; the overlap with the evidence is shown for the reader.",
        pl.DataFrame(rows, infer_schema_length=None),
        frozenset(names.values()),
    )


def _steps(seconds: Mapping[str, float]) -> Table:
    frame = pl.DataFrame({"step": list(seconds), "seconds": [float(value) for value in seconds.values()]})
    return Table("steps", "Time of each step.", "On the start that finished it.", frame, decimals=1)


def _compared() -> pl.Expr:
    """The maps that the paper compares: DiET's masks, and the baseline's explainers."""
    return (pl.col("kind") == "maps") & ((pl.col("model") == BASELINE) | pl.col("attribution").is_in((MASK, NETWORK)))


def _without(table: Table, several: bool) -> Table:
    """The table without empty columns, and without the variants' where there is one variant."""
    empty = [name for name in table.frame.columns if not several and name == "variant"]
    empty += [name for name in table.frame.columns if _is_empty(table.frame[name])]
    return Table(table.name, table.title, table.note, table.frame.drop(empty), table.percent, table.decimals)


def _is_empty(column: pl.Series) -> bool:
    return all(value is None or (isinstance(value, float) and math.isnan(value)) for value in column) and len(column) > 0
