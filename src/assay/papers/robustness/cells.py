"""The robustness study's values with what their specs mean as columns, which its claims, tables and figures ask by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from assay.core.registry import build, short
from assay.explain.base import Explainer
from assay.explain.gradient import Gradient
from assay.explain.smooth import SmoothGrad
from assay.measure.base import Measure
from assay.measure.contribution import MarginalContribution
from assay.measure.robustness import LocalLipschitz
from assay.papers.robustness.condition import ALONG, LONG
from assay.papers.robustness.measured import SCORE
from assay.papers.robustness.printed import PAPER_NAMES

__all__ = ["PAPERS", "Statistic", "distinct_cells", "images_by", "is_faithful", "widths"]

Statistic = Literal["lipschitz", "contribution", "length", "direction", "ours"]
"""What a value is: a local Lipschitz constant, a marginal contribution's likeness, what the theorem asks, or what is not in the paper."""
PAPERS = short(LocalLipschitz())
"""The local Lipschitz constant as the paper measures it: 50 draws."""
_OF_EXPLAINERS = {"method": pl.String(), "usual": pl.Boolean(), "width": pl.Float64()}
_OF_MEASURES = {"statistic": pl.String(), "similarity": pl.String()}


def distinct_cells(values: pl.DataFrame, graded: Collection[str] = ()) -> pl.DataFrame:
    """Values with each cell once, since what several parts measured of the same images is the same, and with what they are.

    Further columns: method (the paper's short name of the explainer, "model" for the score itself, or null), usual (whether it is as in
    table 1), width (of SmoothGrad; 0 for the gradient), statistic (see `Statistic`), similarity (of marginal contributions) and graded
    (whether the network is one of figure 3's).

    Args:
        values: A row for each network, output, explainer, measure and image.
        graded: Names of figure 3's networks.
    """
    once = values.unique(["network", "output", "explainer", "measure", "image"], keep="first", maintain_order=True)
    known = once.with_columns(pl.col("network").is_in(list(graded)).alias("graded"))
    for column, tell, schema in (("explainer", _of_explainer, _OF_EXPLAINERS), ("measure", _of_measure, _OF_MEASURES)):
        specs = known[column].unique(maintain_order=True).to_list()
        told = pl.DataFrame([{column: spec, **tell(spec)} for spec in specs], schema={column: pl.String(), **schema})
        known = known.join(told, on=column, how="left", maintain_order="left")
    return known


def _of_explainer(spec: str) -> Mapping[str, Any]:
    if spec == SCORE:
        return {"method": "model", "usual": True, "width": None}
    one = build(spec, Explainer)
    if isinstance(one, SmoothGrad):
        return {"method": PAPER_NAMES[SmoothGrad], "usual": one.sigma == SmoothGrad().sigma, "width": one.sigma}
    return {"method": PAPER_NAMES.get(type(one)), "usual": True, "width": 0.0 if one == Gradient() else None}


def _of_measure(spec: str) -> Mapping[str, Any]:
    if spec in (LONG, ALONG):
        return {"statistic": "length" if spec == LONG else "direction", "similarity": None}
    one = build(spec, Measure)
    if isinstance(one, MarginalContribution):
        return {"statistic": "contribution", "similarity": one.similarity}
    return {"statistic": "lipschitz" if isinstance(one, LocalLipschitz) else "ours", "similarity": None}


def is_faithful(similarity: str) -> pl.Expr:
    """Rows of marginal contributions by a similarity."""
    return pl.col("similarity") == similarity


def images_by(rows: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """(images, columns) of one network's values of the named explainers; images that all of them have."""
    wide = rows.filter(pl.col("explainer").is_in(list(columns))).pivot(on="explainer", index="image", values="value")
    if not columns or not set(columns) <= set(wide.columns):
        return np.empty((0, len(columns)))
    found: np.ndarray = wide.select(columns).drop_nulls().to_numpy()
    return found


def widths(rows: pl.DataFrame) -> dict[float, str]:
    """Specs of the gradient and of SmoothGrad by their width, ascending."""
    found = rows.drop_nulls("width").select("width", "explainer").unique(keep="last", maintain_order=True)
    return dict(sorted(found.iter_rows()))
