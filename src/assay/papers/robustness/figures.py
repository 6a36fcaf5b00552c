"""The robustness study's figures; none of them shows an image of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from assay.papers.files import Drawing
from assay.report.figures.frontier_plot import Axis, Line, Point, trade_offs
from assay.report.figures.plots import Curve, Dot, curves, dots
from assay.study.frontier.sweep import ATTACKED, CHANGE

__all__ = ["figures"]


def figures(twins: pl.DataFrame, widths: pl.DataFrame) -> tuple[Drawing, ...]:
    """All figures, in the order of the report.

    Args:
        twins: As `assay.papers.robustness.cells.twin_cells` makes them.
        widths: As `assay.papers.robustness.cells.width_cells` makes them.
    """
    return (*_of_twins(twins), *_of_widths(widths))


def _of_twins(twins: pl.DataFrame) -> Iterator[Drawing]:
    if twins.is_empty():
        return
    decisive = pl.col("quantity").str.starts_with(ATTACKED) | (pl.col("quantity") == CHANGE)
    for name, rows, what in (
        ("free-robustness", twins.filter(decisive), "robustness"),
        ("free-faithfulness", twins.filter(pl.col("kind") == "faithfulness"), "faithfulness to their own network"),
    ):
        if rows.height:
            caption = (
                f"Robust twin less standard twin, {what}, paired by image; to the right of zero the robust twin is better. 95 % intervals; "
                "diamonds are differences that the test confirms."
            )
            yield Drawing(name, caption, partial(_differences, rows), False)


def _differences(rows: pl.DataFrame) -> Figure:
    groups = {
        str(quantity): [
            Dot(
                f"{row['backbone']}: {row['explainer'].partition('(')[0]}", row["change"], row["change_low"], row["change_high"], _sure(row)
            )
            for row in own.iter_rows(named=True)
        ]
        for (quantity,), own in rows.group_by("quantity", maintain_order=True)
    }
    return dots(groups, "difference, better to the right", reference=0.0)


def _sure(row: Mapping[str, str]) -> bool:
    return row["outcome"] in ("gains", "costs")


def _of_widths(widths: pl.DataFrame) -> Iterator[Drawing]:
    if widths.is_empty():
        return
    for (family,), rows in widths.group_by("family", maintain_order=True):
        stem = str(family).lower()
        robust = rows.filter(pl.col("quantity").str.starts_with(ATTACKED) & pl.col("mean").is_not_nan())
        if robust.height:
            caption = (
                f"What an attack leaves of the maps as the {family} kernel widens, one panel for each explainer and distance; bands are "
                "95 % intervals."
            )
            yield Drawing(f"kernel-{stem}", caption, partial(_by_width, robust, change=False), False)
            caption = (
                f"Robustness (to the right) against each notion of faithfulness (up) as the {family} kernel widens; points are labelled "
                "by the width. Attacked images are a subset of those that faithfulness is measured on."
            )
            yield Drawing(f"trade-off-{stem}", caption, partial(_trade_off, rows), False)
        faithful = rows.filter(pl.col("kind") == "faithfulness")
        for (twin,), own in faithful.group_by("twin", maintain_order=True):
            caption = (
                f"What the {family} kernel does to the faithfulness of {twin} networks' maps to the network alone, less that at width 0, "
                "image by image: one row for each explainer, one column for each notion, above zero is better. Bands are 95 % intervals."
            )
            yield Drawing(f"cost-{stem}-{twin}", caption, partial(_by_width, own, change=True), False)


def _by_width(rows: pl.DataFrame, change: bool) -> Figure:
    """A row of panels for each explainer, a column for each quantity, a curve for each network: means, or changes against width 0."""
    mean, *ends = ("change", "change_low", "change_high") if change else ("mean", "low", "high")
    panels: dict[str, list[Curve]] = {}
    order = {name: rows[name].unique(maintain_order=True).to_list() for name in ("part", "explainer", "quantity", "model")}
    places = [pl.col(name).replace_strict(known, range(len(known))) for name, known in order.items()]
    ordered = rows.sort(*places, "width", maintain_order=True)
    for (_, explainer, quantity, model), own in ordered.group_by(*order, maintain_order=True):
        low, high = (tuple(own[end].fill_nan(None).fill_null(own[mean])) for end in ends)
        panel = panels.setdefault(f"{str(explainer).partition('(')[0]}: {quantity}", [])
        panel.append(Curve(str(model), tuple(own["width"]), tuple(own[mean]), low, high))
    return curves(panels, "width", columns=len(order["quantity"]), level=0.0 if change else None)


def _trade_off(rows: pl.DataFrame) -> Figure:
    across = next(name for name in rows["quantity"] if name.startswith(ATTACKED))
    attacked = rows.filter((pl.col("quantity") == across) & pl.col("mean").is_not_nan())
    panels: dict[str, tuple[Axis, list[Line]]] = {}
    faithful = rows.filter(pl.col("kind") == "faithfulness")
    for (quantity, model, part, explainer), own in faithful.group_by("quantity", "model", "part", "explainer", maintain_order=True):
        x = attacked.filter((pl.col("model") == model) & (pl.col("part") == part) & (pl.col("explainer") == explainer))
        if x.is_empty():
            continue
        ends = ("mean", "low", "high")
        pairs = own.select("width", *ends).join(x.select("width", *ends), on="width", suffix="_x").sort("width")
        points = tuple(
            Point(f"{width:g}", (*place,), (*value,)) for width, *rest in pairs.iter_rows() for value, place in ((rest[:3], rest[3:]),)
        )
        name = str(explainer).partition("(")[0]
        axis = Axis(str(quantity).partition("(")[0], bool(own["higher_is_better"][0]))
        panels.setdefault(str(quantity), (axis, []))[1].append(Line(f"{model}, {name}", str(model), name, points))
    return trade_offs(Axis(across, True), panels, "width")
