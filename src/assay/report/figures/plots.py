"""Plots of a study's results and sheets of pictures, as PNG and SVG bytes; the same input gives the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:  # Loaded where a figure is drawn: it takes a third of a second.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "Dot", "DrawnCurve", "bare_frame", "blank", "curves", "dots", "sheet", "to_bytes"]

COLOURS = (
    "#0b5fa5",
    "#c2410c",
    "#157f3b",
    "#7a3ea1",
    "#8a6d00",
    "#b3246b",
    "#3f5d68",
    "#5a5f00",
    "#6b6b6b",
    "#00798c",
    "#a23b00",
    "#9ca3af",
)
_STYLES = ("o-", "s--", "^-.", "D:", "v-", "P--", "X-.", "h:", "<-", ">--", "p-.")
_GREY, _DPI = "#6b7280", 150
FigureForm = Literal["png", "svg", "pdf"]
FIGURE_FORMS: tuple[FigureForm, ...] = ("png", "svg", "pdf")
"""Forms in which every figure of a run is written: for screens, pages and papers."""
_TIMELESS: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
"""What each form would otherwise say of when and by what it was made."""


@dataclass(frozen=True)
class Dot:
    """One line of a dot plot: a value with its interval (NaN where there is none); `strong` ones are what the plot is about."""

    label: str
    value: float
    low: float
    high: float
    strong: bool = False


@dataclass(frozen=True)
class DrawnCurve:
    """One curve with a band around it (None for none)."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None


def dots(
    groups: Mapping[str, Sequence[Dot]],
    axis: str,
    limits: tuple[float, float] | None = None,
    reference: float | Mapping[str, float] | None = None,
) -> Figure:
    """Values with their intervals, one panel for each group, one line for each value; labels that all panels share stand once.

    Args:
        groups: Panels by their titles.
        axis: What is measured.
        limits: Ends of the axis.
        reference: Where a vertical line is drawn to compare with, in all panels or by panel.
    """
    most, names = max(len(group) for group in groups.values()), [[dot.label for dot in group] for group in groups.values()]
    same = all(one == names[0] for one in names)
    figure = blank((2.8 if same else 4.4) * len(groups) + (3.4 if same else 1.6), 0.9 + 0.27 * most)
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for panel, (title, group) in zip(panels, groups.items(), strict=True):
        for place, dot in enumerate(group):
            colour = COLOURS[1] if dot.strong else COLOURS[0]
            if np.isfinite(dot.low):
                panel.plot([dot.low, dot.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
            panel.plot(dot.value, place, "D" if dot.strong else "o", color=colour, markersize=5)
        told = group if panel is panels[0] or not same else ()
        panel.set_yticks(range(len(told)), [dot.label for dot in told])
        panel.set_ylim(len(group) - 0.4, -0.6)
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xlabel(axis)
        panel.locator_params(axis="x", nbins=5)
        panel.grid(axis="x", color="#e5e7eb")
        line = reference.get(title) if isinstance(reference, Mapping) else reference
        if line is not None:
            panel.axvline(line, color=_GREY, linewidth=1, zorder=0)
        if limits:
            panel.set_xlim(limits)
        bare_frame(panel)
    return figure


def curves(
    panels: Mapping[str, Sequence[DrawnCurve]],
    x_axis: str,
    scale: Literal["linear", "log"] = "linear",
    ticks: Sequence[float] | None = None,
    columns: int | None = None,
    level: float | None = None,
) -> Figure:
    """Curves over a common quantity, one panel for each measured one; each label keeps its colour and sign throughout.

    Args:
        panels: Curves by what the panel's vertical axis measures.
        x_axis: What the horizontal axes measure.
        scale: Of the horizontal axes.
        ticks: Places of their ticks.
        columns: Panels side by side; by default all of up to three, else half of them.
        level: Where a horizontal line is drawn to compare with.
    """
    columns = columns or (len(panels) if len(panels) <= 3 else math.ceil(len(panels) / 2))
    rows = math.ceil(len(panels) / columns)
    figure = blank(4.2 * columns + 2.4, 3.3 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for empty in axes[len(panels) :]:
        empty.set_axis_off()
    labels = list(dict.fromkeys(curve.label for group in panels.values() for curve in group))
    for panel, (title, group) in zip(axes, panels.items(), strict=False):
        for curve in group:
            number = labels.index(curve.label)
            colour, style = COLOURS[number % len(COLOURS)], _STYLES[number % len(_STYLES)]
            panel.plot(curve.x, curve.y, style, color=colour, markersize=4, linewidth=1.4, label=curve.label)
            if curve.low is not None and curve.high is not None:
                panel.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.14, linewidth=0)
        if level is not None:
            panel.axhline(level, color=_GREY, linewidth=1)
        panel.set_xscale(scale)
        if ticks is not None:
            panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
            panel.set_xticks([], minor=True)
        panel.set_xlabel(x_axis)
        panel.set_title(title, fontsize=10, loc="left")
        panel.grid(color="#e5e7eb")
        bare_frame(panel)
    handles = {str(line.get_label()): line for panel in axes for line in panel.get_lines()}
    figure.legend(handles=[handles[label] for label in labels], loc="outside right center", frameon=False, fontsize=8)
    return figure


def sheet(rows: Sequence[Sequence[Image.Image]], columns: Sequence[str], names: Sequence[str], side: float = 1.15) -> Figure:
    """Pictures in rows and columns.

    Args:
        rows: Pictures of each row.
        columns: What stands above each column.
        names: What stands before each row.
        side: Inches of a picture.
    """
    figure = blank(side * len(columns) + 0.7, side * len(rows) + 0.55)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (pictures, name) in enumerate(zip(rows, names, strict=True)):
        for place, picture in enumerate(pictures):
            cell = grid[line][place]
            cell.imshow(np.asarray(picture.convert("RGB")), interpolation="nearest")
            cell.set_xticks([])
            cell.set_yticks([])
            cell.spines[:].set_visible(False)
            if line == 0:
                cell.set_title(columns[place], fontsize=7)
        grid[line][0].set_ylabel(name, fontsize=7)
    return figure


def to_bytes(draw: Callable[[], Figure], form: FigureForm) -> bytes:
    """A figure as the bytes of a file, without the time at which it was made."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "assay", "svg.fonttype": "path", "font.size": 9}):
        page = io.BytesIO()
        draw().savefig(page, format=form, dpi=_DPI, metadata=_TIMELESS[form])
    return page.getvalue()


def blank(width: float, height: float) -> Figure:
    """An empty white figure of so many inches, drawn without a screen."""
    from assay.report.figures.drawn import Drawn

    return Drawn(width, height)


def bare_frame(panel: Axes) -> None:
    """Take away the frame's upper and right lines, and grey the others."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(_GREY)
    panel.tick_params(colors=_GREY, labelcolor="black", labelsize=8)
