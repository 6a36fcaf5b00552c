"""The robustness study's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from assay.core.registry import build, short
from assay.models.accuracy import Accuracy
from assay.papers.robustness.networks import Network
from assay.papers.robustness.verdict import Judgement
from assay.report.export import HIGH, LOW, Table

__all__ = ["tables"]

_ENDS = {"change": "difference", "change_low": f"difference{LOW}", "change_high": f"difference{HIGH}"}


def tables(
    networks: Mapping[str, Network],
    classes: pl.DataFrame,
    found: Sequence[Judgement],
    twins: pl.DataFrame,
    cells: pl.DataFrame,
    widths: pl.DataFrame,
    steps: pl.DataFrame,
) -> tuple[Table, ...]:
    """All tables, in the order of the report.

    Args:
        networks: The networks by name.
        classes: Label and class of each chosen image by each network.
        found: The judgements.
        twins: Cells of claim 1.
        cells: Cells of claims 2 and 3.
        widths: Their widths.
        steps: Time and passes of each step.
    """
    made = [_models(networks, classes), _verdicts(found)]
    if twins.height:
        made += [_twins(twins, "robustness"), _twins(twins, "faithfulness")]
    if cells.height:
        made += [_smoothed(cells, "robustness"), _smoothed(cells, "faithfulness"), _widths(widths)]
    return (*made, _steps(steps))


def _models(networks: Mapping[str, Network], classes: pl.DataFrame) -> Table:
    rows: list[dict[str, Any]] = []
    for name, one in networks.items():
        own = classes.filter(pl.col("model") == name)
        here = Accuracy.of(int((own["label"] == own["predicted"]).sum()), own.height)
        card = one.card
        rows.append(
            {"network": name, "architecture": card.architecture.partition("(")[0], "parameters": card.parameters}
            | {"test accuracy, %": card.test_accuracy.value}
            | {"under attack, %": None if card.robust is None else card.robust.accuracy.value}
            | {"attack": None if card.robust is None else short(build(card.robust.attack))}
            | {"chosen images, %": here.value, f"chosen images, %{LOW}": here.low, f"chosen images, %{HIGH}": here.high}
        )
    schema = {"under attack, %": pl.Float64, "attack": pl.String}
    return Table(
        "models",
        "The networks.",
        "Accuracy on all test images and under attack as their cards say; on the chosen images as found here, with Wilson's 95 % interval.",
        pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None),
        frozenset({"test accuracy, %", "under attack, %", "chosen images, %"}),
    )


def _verdicts(found: Sequence[Judgement]) -> Table:
    rows = [(one.claim, one.subject, one.cells, one.support, one.against, one.verdict) for one in found]
    return Table(
        "verdict",
        "The claims.",
        "How many cells support and contradict each claim, by the rules.",
        pl.DataFrame(rows, schema=["claim", "by", "cells", "for", "against", "verdict"], orient="row"),
    )


def _twins(twins: pl.DataFrame, kind: str) -> Table:
    rows = twins.filter(pl.col("kind") == kind).select(
        "quantity",
        "backbone",
        "explainer",
        "standard",
        "robust",
        *(pl.col(a).alias(b) for a, b in _ENDS.items()),
        "p_holm",
        "outcome",
        "images",
    )
    about = "How robust they are" if kind == "robustness" else "How faithful they are to their own network"
    return Table(
        f"free-{kind}",
        f"Claim 1: the same explainers on standard and robust twins. {about}.",
        "Means, the paired difference (robust less standard, positive where the robust twin is better) with its 95 % bootstrap interval, "
        "and p of Wilcoxon's signed-rank test after Holm's correction.",
        rows.rename({"p_holm": "p"}),
    )


def _smoothed(cells: pl.DataFrame, kind: str) -> Table:
    rows = cells.filter(pl.col("kind") == kind).select(
        "quantity",
        pl.col("family").alias("kernel"),
        pl.col("model").alias("network"),
        "explainer",
        "width",
        "alone",
        "smoothed",
        *(pl.col(a).alias(b) for a, b in _ENDS.items()),
        "rank_correlation",
        pl.col("p_holm").alias("p"),
        "trend",
        "outcome",
        "images",
    )
    claim, about = ("2", "robustness") if kind == "robustness" else ("3", "faithfulness to the unsmoothed network")
    return Table(
        f"kernel-{kind}",
        f"Claim {claim}: {about} through a kernel.",
        "Means of the explainer alone and at the largest width, their paired difference (positive where smoothing is better) with its 95 "
        "% bootstrap interval, the mean rank correlation with the width (positive where it gets better), and p of the trend after Holm's "
        "correction.",
        rows.rename({"rank_correlation": "rank correlation"}),
    )


def _widths(widths: pl.DataFrame) -> Table:
    known = widths.filter((pl.col("width") > 0) & (pl.col("outcome") != ""))
    counted = known.group_by("quantity", "twin", "family", "width", maintain_order=True).agg(
        pl.col("change").mean().alias("mean difference"),
        *((pl.col("outcome") == word).sum().alias(word) for word in ("gains", "free", "costs", "undecided")),
    )
    return Table(
        "widths",
        "Width by width.",
        "How many cells gain, keep, lose or leave open each quantity against width 0 (by paired intervals), and the mean of their "
        "differences, positive being better.",
        counted.sort("quantity", "twin", "family", "width", maintain_order=True).rename({"family": "kernel", "twin": "networks"}),
    )


def _steps(steps: pl.DataFrame) -> Table:
    total = steps.group_by("part", "kind", maintain_order=True).agg(
        pl.len().alias("steps"), pl.col("images", "forward", "backward").sum(), pl.col("seconds").sum().round(1)
    )
    return Table(
        "steps",
        "Time and passes.",
        "Over all networks: images explained, images through the network forward and backward, and seconds on the start that finished "
        "the step.",
        total,
        decimals=1,
    )
