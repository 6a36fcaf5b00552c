"""The report of `frontier`: sentences, figure, tables by width, trends and knees, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from assay.core.registry import plain_name
from assay.report.figures.frontier_plot import PlotAxis, Point, WidthCurve, plot_trade_offs
from assay.report.figures.plots import to_bytes
from assay.report.page import Page, Picture, Section, TextTable
from assay.report.text import between, number
from assay.study.frontier.findings import FRONTIER_RULES, p_words
from assay.study.frontier.tables import FrontierTables

__all__ = ["frontier_page", "lines_of_plot"]

_LEAD = (
    "Smoothing explains the model's mean over noisy copies of the image. Wider noise makes maps harder to bend, and lets them say less "
    "about the model itself. How much less depends on what one calls faithful, so every notion has its own curve and nothing is averaged "
    "over notions. Faithfulness is always to the model that was given, never to the smoothed one. All widths share their noise."
)
_SIGNS = {"gains": " +", "costs": " −", "free": " =", "undecided": " ?", "": ""}
_CAPTION = (
    "Robustness (to the right) against faithfulness (up), one panel for each notion, one line for each explainer, points labelled by the "
    "width; the hollow point is the explainer alone. Axes run so that the upper right corner is the better one."
)


def frontier_page(frontiers: Sequence[FrontierTables], problems: Sequence[tuple[str, str]] = ()) -> Page:
    """The report of the frontiers of one model.

    Args:
        frontiers: One for each explainer, from one sweep.
        problems: (image, what was wrong) for what was left out.
    """
    first = frontiers[0]
    setup = first.record["setup"]
    picture = Picture(_CAPTION, to_bytes(lambda: plot_trade_offs(*lines_of_plot(frontiers, None, first.robustness)), "svg"), "svg")
    images = first.status.filter(pl.col("status") == "ok").height
    sections = [Section("Robustness against faithfulness", "", (picture,))]
    sections += [Section(one.explainer, "", (_widths(one), _trends(one))) for one in frontiers]
    sections.append(Section("What is measured", "", (_meanings(first),)))
    return Page(
        title="What does the robustness of these explanations cost?",
        kind="frontier of explanations",
        lead=_LEAD,
        facts={
            "model": first.model,
            "images": str(images),
            "explained class": str(setup["targets"]),
            "data": str(first.record["data"].get("name")),
        },
        verdict=tuple(sentence for one in frontiers for sentence in one.sentences),
        rules=FRONTIER_RULES,
        sections=tuple(sections),
        settings={name: _plain(value) for name, value in setup.items() if name not in ("model", "explainers")},
        record=first.record,
        problems=tuple(problems),
    )


def lines_of_plot(
    frontiers: Sequence[FrontierTables], labels: Sequence[str] | None, robustness: str
) -> tuple[PlotAxis, dict[str, tuple[PlotAxis, list[WidthCurve]]], str]:
    """What `assay.report.figures.frontier_plot.plot_trade_offs` draws of frontiers with the same quantities.

    Args:
        frontiers: Of any explainers and models.
        labels: What to call them; None for explainer and, where there are several, model.
        robustness: The quantity on the horizontal axes.
    """
    # Twins are of one class of network: a second line of the same explainer and model is told and drawn apart by its number.
    pairs = [(one.explainer, one.model) for one in frontiers]
    numbers = [pairs[:at].count(pair) + 1 for at, pair in enumerate(pairs)]
    models = [model if number == 1 else f"{model} ({number})" for (_, model), number in zip(pairs, numbers, strict=True)]
    told = labels or [
        one.explainer if len(set(models)) == 1 else f"{one.explainer}, {model}" for one, model in zip(frontiers, models, strict=True)
    ]
    across = _axis(frontiers[0], robustness)
    panels = {}
    for notion in frontiers[0].notions:
        lines = [
            WidthCurve(label, one.explainer, model, _points(one, robustness, notion))
            for label, one, model in zip(told, frontiers, models, strict=True)
        ]
        panels[notion] = (_axis(frontiers[0], notion), lines)
    units = {one.unit for one in frontiers}
    return across, panels, units.pop() if len(units) == 1 else "width"


def _axis(frontier: FrontierTables, quantity: str) -> PlotAxis:
    return PlotAxis(plain_name(quantity), bool(frontier.rows_of(quantity)["higher_is_better"][0]))


def _points(frontier: FrontierTables, robustness: str, notion: str) -> tuple[Point, ...]:
    across, up = (frontier.rows_of(name).select("mean", "low", "high").rows() for name in (robustness, notion))
    return tuple(Point(f"{width:g}", *ends) for width, *ends in zip(frontier.rows_of(notion)["width"], across, up, strict=True))


def _widths(frontier: FrontierTables) -> TextTable:
    """A line for each quantity, a column for each width."""
    quantities = frontier.trends["quantity"].to_list()
    parts = {name: frontier.rows_of(name).to_dicts() for name in quantities}
    lines = tuple(
        (f"{name} {'↑' if rows[0]['higher_is_better'] else '↓'}", *(_mean(row) + _SIGNS[row["outcome"]] for row in rows))
        for name, rows in parts.items()
    )
    kernels = [row["kernel"] for row in parts[quantities[0]]]
    return TextTable(
        f"{frontier.explainer}, width by width.",
        "Means with 95% intervals; ↑ higher is better, ↓ lower. Against width 0: + gains, = free, − costs, ? undecided.",
        ("quantity", *("not smoothed" if kernel == "none" else kernel for kernel in kernels)),
        lines,
        (False, *(True for _ in kernels)),
    )


def _trends(frontier: FrontierTables) -> TextTable:
    """A line for each quantity: from width 0 to the largest, its trend, and its knee."""
    lines = []
    for move in frontier.trends.iter_rows(named=True):
        rows = frontier.rows_of(move["quantity"]).to_dicts()
        bent = frontier.knee(move["quantity"]) if move["kind"] == "faithfulness" else None
        lines.append(
            (
                move["quantity"],
                number(rows[0]["mean"]),
                number(rows[-1]["mean"]),
                _loss(rows[-1]),
                "not tested" if not move["trend"] else move["trend"],
                number(move["rank_correlation"], 2),
                p_words(move["p_holm"]),
                f"{bent.width:g} ({bent.support:.0%} of resamples)" if bent else "none",
            )
        )
    return TextTable(
        f"{frontier.explainer}, trends.",
        "Loss at the largest width against width 0, as a share of the value at width 0, with its 95% interval (below zero: a gain). The "
        "trend's rank correlation is positive where the quantity gets better with the width; p is corrected by Holm. The knee is the width "
        f"whose mean lies furthest above the chord of the curve over {frontier.robustness}; none where nothing bends or is traded.",
        ("quantity", "width 0", "largest width", "loss", "trend", "rank correlation", "p", "knee"),
        tuple(lines),
        (False, True, True, True, False, True, True, False),
    )


def _meanings(frontier: FrontierTables) -> TextTable:
    lines = tuple((move["quantity"], move["kind"], frontier.meanings[move["quantity"]]) for move in frontier.trends.iter_rows(named=True))
    return TextTable(
        "Quantities.", "The measures' parameters are among the settings.", ("quantity", "asks for", "meaning"), lines, (False,) * 3
    )


def _mean(row: Mapping[str, Any]) -> str:
    return number(row["mean"]) + between(row["low"], row["high"])


def _loss(row: Mapping[str, Any]) -> str:
    if math.isnan(row["loss"]):
        return "n/a"
    return f"{row['loss']:.0%}{between(row['loss_low'], row['loss_high'], '{:.0%}'.format)}".replace("-", "−")


def _plain(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
