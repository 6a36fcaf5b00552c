"""Robustness against faithfulness: one panel for each notion of faithfulness, one line for each explainer and model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.report.figures.plots import COLOURS, bare_frame, blank

if TYPE_CHECKING:  # Loaded where a figure is drawn: it takes a third of a second.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PlotAxis", "Point", "WidthCurve", "plot_trade_offs"]

_MARKERS, _DASHES = "osD^vPX", ("-", "--", ":", "-.")
_COLUMNS, _WIDTH, _HEIGHT = 3, 3.7, 3.1
_LETTER = (0.055, 0.11)
"""Inches that a letter of a point's label takes."""
_DOT = 0.03
"""Half the side of a point, in inches."""
_OFFSETS = ((5, 4), (5, -10), (-5, 4), (-5, -10))


@dataclass(frozen=True)
class PlotAxis:
    """What an axis measures, and whether higher is better."""

    name: str
    higher_is_better: bool


@dataclass(frozen=True)
class Point:
    """One width: mean and 95% interval (NaN for none) of both axes."""

    label: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]


@dataclass(frozen=True)
class WidthCurve:
    """One curve, widths ascending; lines of one `colour` share their colour, lines of one `style` their dashes and markers."""

    label: str
    colour: str
    style: str
    points: tuple[Point, ...]


def plot_trade_offs(across: PlotAxis, panels: Mapping[str, tuple[PlotAxis, Sequence[WidthCurve]]], width: str) -> Figure:
    """Draw the panels; axes run so that the upper right corner is always the better one.

    Args:
        across: The horizontal axes: robustness.
        panels: The vertical axis and the lines of each panel, by its title.
        width: What points are labelled by, such as "sigma".
    """
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = blank(_WIDTH * columns, _HEIGHT * rows + 0.6)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    everyone = [line for _, lines in panels.values() for line in lines]
    colours, styles = (list(dict.fromkeys(names)) for names in ([one.colour for one in everyone], [one.style for one in everyone]))
    for panel, (title, (up, lines)) in zip(axes, panels.items(), strict=False):
        own = [COLOURS[colours.index(line.colour) % len(COLOURS)] for line in lines]
        for line, colour in zip(lines, own, strict=True):
            _draw(panel, line, colour, styles.index(line.style))
        panel.margins(0.14)
        for axis, invert in ((across, panel.invert_xaxis), (up, panel.invert_yaxis)):
            if not axis.higher_is_better:
                invert()
        _name(panel, lines, own)
        panel.set_title(title, fontsize=9.5, loc="left")
        panel.set_xlabel(_told(across), fontsize=8)
        panel.set_ylabel(_told(up), fontsize=8)
        panel.text(0.985, 0.985, "better ↗", transform=panel.transAxes, ha="right", va="top", fontsize=8, color="#157f3b")
        panel.grid(color="#e5e7eb", linewidth=0.7)
        bare_frame(panel)
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    handles = {line.get_label(): line for panel in axes for line in panel.get_lines() if not line.get_label().startswith("_")}
    figure.legend(
        handles=list(handles.values()),
        loc="outside lower center",
        ncols=min(3, len(handles)),
        frameon=False,
        fontsize=8,
        title=f"points are labelled by {width} (0, hollow: not smoothed); bars are 95% intervals",
        title_fontsize=8,
    )
    return figure


def _draw(panel: Axes, line: WidthCurve, colour: str, style: int) -> None:
    """The means, joined in the order of the widths, with whiskers both ways; a hollow first point is the explainer alone."""
    x, y = (np.array([getattr(point, axis) for point in line.points]) for axis in ("x", "y"))
    for low, high, fixed, draw in ((x[:, 1], x[:, 2], y[:, 0], panel.hlines), (y[:, 1], y[:, 2], x[:, 0], panel.vlines)):
        known = np.isfinite(low) & np.isfinite(high) & np.isfinite(fixed)
        draw(fixed[known], low[known], high[known], color=colour, linewidth=1, alpha=0.55)
    marker = _MARKERS[style % len(_MARKERS)]
    panel.plot(
        x[:, 0],
        y[:, 0],
        marker=marker,
        linestyle=_DASHES[style % len(_DASHES)],
        color=colour,
        markersize=4.5,
        linewidth=1.3,
        label=line.label,
    )
    panel.plot(x[:1, 0], y[:1, 0], marker=marker, color=colour, markerfacecolor="white", markersize=4.5)


def _name(panel: Axes, lines: Sequence[WidthCurve], colours: Sequence[str]) -> None:
    """Label points in the colour of their line where neither a point nor another label is in the way, the ends of the lines first."""
    spans = [(limits[0], limits[1] - limits[0]) for limits in (panel.get_xlim(), panel.get_ylim())]
    inches = (_WIDTH - 0.8, _HEIGHT - 0.9)
    named = [
        (at not in (0, len(line.points) - 1), colour, point)
        for line, colour in zip(lines, colours, strict=True)
        for at, point in enumerate(line.points)
    ]
    known = [one for one in sorted(named, key=lambda one: one[0]) if math.isfinite(one[2].x[0]) and math.isfinite(one[2].y[0])]
    places = [
        [(value - start) / span * inch for value, (start, span), inch in zip((point.x[0], point.y[0]), spans, inches, strict=True)]
        for _, _, point in known
    ]
    taken = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in places]
    for (_, colour, point), place in zip(known, places, strict=True):
        size = _LETTER[0] * len(point.label), _LETTER[1]
        for right, up in _OFFSETS:
            left, low = place[0] + right / 72 - (size[0] if right < 0 else 0), place[1] + up / 72
            box = (left, low, left + size[0], low + size[1])
            if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                taken.append(box)
                panel.annotate(
                    point.label,
                    (point.x[0], point.y[0]),
                    (right, up),
                    textcoords="offset points",
                    ha="left" if right > 0 else "right",
                    fontsize=7,
                    color=colour,
                )
                break


def _told(axis: PlotAxis) -> str:
    return f"{axis.name} ({'higher is better' if axis.higher_is_better else 'lower is better, reversed'})"
