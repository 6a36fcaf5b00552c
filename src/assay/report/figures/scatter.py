"""Robustness against faithfulness as panels of numbered points, drawn by the page in its own colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

from assay.report.evidence import Ends, TradeOff, TradeOffs
from assay.report.figures.strip import Axis, axis_of

__all__ = ["Panel", "ScatterMark", "scatter"]


@dataclass(frozen=True)
class ScatterMark:
    """One explainer: its number, place (x from the left, y from the top, per cent), ends of both intervals, and words."""

    number: int
    trusted: bool
    x: float
    y: float
    across: tuple[float, float] | None
    up: tuple[float, float] | None
    words: str


@dataclass(frozen=True)
class Panel:
    """Two axes with ticks (place, text), better to the right and up, and the marks; `missing` names what has no point."""

    across: str
    up: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    marks: tuple[ScatterMark, ...]
    missing: tuple[str, ...]


def scatter(part: TradeOffs) -> tuple[tuple[str, ...], tuple[Panel, ...]]:
    """The explainers by their numbers less one, and the panels."""
    names = tuple(dict.fromkeys(name for panel in part.panels for name, _, _ in panel.points))
    return names, tuple(_panel(panel, names, part.trusted) for panel in part.panels)


def _panel(panel: TradeOff, names: tuple[str, ...], trusted: tuple[str, ...]) -> Panel:
    shown = [one for one in panel.points if math.isfinite(one[1][0]) and math.isfinite(one[2][0])]
    across, up = _axis([x for _, x, _ in shown]), _axis([y for _, _, y in shown])
    marks = []
    for name, x, y in shown:
        right, high = (_placed(axis, ends, better) for axis, ends, better in ((across, x, panel.across[1]), (up, y, panel.up[1])))
        words = TradeOffs.told(name, x, y)
        mark = ScatterMark(names.index(name) + 1, name in trusted, right[0], 100 - high[0], right[1], high[1], words)
        marks.append(mark)
    titles = [f"{name} {'↑' if higher else '↓'}" for name, higher in (panel.across, panel.up)]
    return Panel(
        titles[0],
        titles[1],
        tuple((at if panel.across[1] else 100 - at, text) for at, text in across.ticks),
        tuple((100 - at if panel.up[1] else at, text) for at, text in up.ticks),
        tuple(marks),
        tuple(name for name, x, y in panel.points if not (math.isfinite(x[0]) and math.isfinite(y[0]))),
    )


def _axis(ends: list[Ends]) -> Axis:
    return axis_of([one[0] for one in ends], [end for one in ends for end in one[1:] if math.isfinite(end)])


def _placed(axis: Axis, ends: Ends, better: bool) -> tuple[float, tuple[float, float] | None]:
    """A mean and its interval in per cent, turned round where lower is better."""
    mean, low, high = (axis.place(one) if math.isfinite(one) else None for one in ends)
    assert mean is not None
    turned = [None if one is None else (one if better else round(100 - one, 2)) for one in (mean, low, high)]
    whole = None if turned[1] is None or turned[2] is None else (turned[1], turned[2])
    return turned[0] or 0.0, whole
