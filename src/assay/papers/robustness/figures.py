"""The robustness study's figures, after the paper's; none of them shows an image of the data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assay.papers.files import Drawing
from assay.papers.robustness.cells import PAPERS, images_by, is_faithful, widths
from assay.papers.robustness.printed import PRINTED_EXPLAINERS
from assay.report.figures.plots import DrawnCurve, curves
from assay.stats.intervals import means

if TYPE_CHECKING:  # Loaded where a figure is drawn: it takes a third of a second.
    from matplotlib.figure import Figure

__all__ = ["figures"]

_SIMILARITIES = ("inverse_l2", "pearson", "spearman")


def figures(values: pl.DataFrame) -> Iterator[Drawing]:
    """All figures, in the order of the paper.

    Args:
        values: Those of the probability, as `assay.papers.robustness.cells.distinct_cells` gives them.
    """
    doses = list(_doses(values.filter(graded=True, measure=PAPERS)))
    values = values.filter(graded=False)
    if doses:
        caption = (
            "After the paper's Fig. 3: the local Lipschitz constants of explanations against that of the model, over networks of one "
            "backbone and graded robustness."
        )
        axis = "local Lipschitz constant of the model"
        yield Drawing("fig3", caption, partial(curves, {"local Lipschitz constant": doses}, axis, "log"), False, "figures")
    falling = {"local Lipschitz constant": _over_widths(values.filter(statistic="lipschitz"))}
    if falling["local Lipschitz constant"]:
        caption = "After the paper's Fig. 4: the local Lipschitz constant of SmoothGrad over sigma; bands are 95% intervals."
        yield Drawing("fig4", caption, partial(curves, falling, "sigma"), False, "figures")
    faithful = {one: _over_widths(values.filter(is_faithful(one))) for one in _SIMILARITIES}
    if all(faithful.values()):
        caption = (
            "After the paper's Fig. 5: faithfulness of SmoothGrad over sigma, each network's divided by its largest mean; bands are 95% "
            "intervals of the means."
        )
        divided = {name: list(map(_divided, group)) for name, group in faithful.items()}
        yield Drawing("fig5", caption, partial(curves, divided, "sigma"), False, "figures")
    across = {one: list(_across(values.filter(measure=PAPERS), values.filter(is_faithful(one)))) for one in _SIMILARITIES}
    if all(across.values()):
        caption = (
            "After the paper's Fig. 6: faithfulness of the six explainers against their local Lipschitz constant, divided by the network's "
            "largest; a line for each network, the most robust explainer on the left."
        )
        yield Drawing("fig6", caption, partial(_log_curves, across), False, "figures")


def _doses(rows: pl.DataFrame) -> Iterator[DrawnCurve]:
    found = [*rows.group_by("network", "method").agg(pl.col("value").mean()).iter_rows()]
    model = dict(sorted(((name, value) for name, method, value in found if method == "model"), key=lambda one: one[1]))
    for explainer in PRINTED_EXPLAINERS:
        known = {name: value for name, method, value in found if method == explainer and name in model}
        if len(known) > 2:
            order = [name for name in model if name in known]
            yield DrawnCurve(explainer, tuple(model[name] for name in order), tuple(known[name] for name in order))


def _log_curves(panels: dict[str, list[DrawnCurve]]) -> Figure:
    return curves(panels, "local Lipschitz constant over the largest", scale="log")


def _over_widths(rows: pl.DataFrame) -> list[DrawnCurve]:
    found = []
    for (network, _), own in rows.group_by("network", "measure", maintain_order=True):
        known = widths(own)
        table = images_by(own, list(known.values()))
        if len(known) > 2 and len(table) > 1:
            ends = means(table)
            columns = (tuple(getattr(one, side) for one in ends) for side in ("mean", "low", "high"))
            found.append(DrawnCurve(str(network), tuple(known), *columns))
    return found


def _divided(curve: DrawnCurve) -> DrawnCurve:
    top = max(map(abs, curve.y)) or 1.0
    low, high = ((tuple(value / top for value in side) if side else None) for side in (curve.low, curve.high))
    return DrawnCurve(curve.label, curve.x, tuple(value / top for value in curve.y), low, high)


def _across(constants: pl.DataFrame, faithful: pl.DataFrame) -> Iterator[DrawnCurve]:
    for (network,), own in faithful.group_by("network", maintain_order=True):
        specs = own.filter(pl.col("method").is_in(PRINTED_EXPLAINERS))["explainer"].unique(maintain_order=True).to_list()
        moved = constants.filter((pl.col("network") == network) & pl.col("explainer").is_in(specs))
        robust = dict(moved.group_by("explainer").agg(pl.col("value").mean()).iter_rows())
        order = sorted((spec for spec in specs if robust.get(spec)), key=lambda spec: robust[spec])
        table = images_by(own, order)
        if len(table) > 1:
            x = np.array([robust[spec] for spec in order])
            yield DrawnCurve(str(network), tuple(map(float, x / x.max())), tuple(map(float, table.mean(0))))
