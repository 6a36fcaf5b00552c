"""One strip for each measure: every explainer's interval as a line with a dot, over the band of a random map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from assay.report.page import MeasureNote
from assay.report.table import Column, Line, by_measure, cue_of
from assay.report.text import number

__all__ = ["Axis", "Strip", "StripMark", "axis_of", "strips"]

_KEYS = ("mean", "low", "high", "floor", "floor_low", "floor_high")
_LOG_FROM = 50.0


@dataclass(frozen=True)
class Axis:
    """Maps values to per cent of a strip's width, linearly or by logarithm; `ticks` are (place, text)."""

    low: float
    high: float
    logarithmic: bool
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Per cent from the left, with a margin of 3 at both ends."""
        low, high, at = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return round(3 + 94 * (at - low) / (high - low), 2)


@dataclass(frozen=True)
class StripMark:
    """One explainer's places in per cent: dot, interval and the random map's band (from, to); None where a value is missing."""

    explainer: str
    dot: float | None
    interval: tuple[float, float] | None
    floor: float | None
    band: tuple[float, float] | None
    cue: str


@dataclass(frozen=True)
class Strip:
    """A measure with its axis and one mark for each explainer."""

    column: Column
    axis: Axis
    marks: tuple[StripMark, ...]


def strips(summary: pl.DataFrame, notes: Mapping[str, MeasureNote]) -> tuple[Strip, ...]:
    """Lay out one strip for each measure of the summary, in the order of its table."""
    return tuple(_strip(column, lines) for column, lines in by_measure(summary, notes))


def axis_of(centres: Iterable[float], ends: Iterable[float] = ()) -> Axis:
    """An axis that holds all values: logarithmic if all are positive and the centres span more than a factor of 50.

    Args:
        centres: Means, finite; none at all gives an axis from 0 to 1.
        ends: Ends of their intervals, finite.
    """
    means = sorted(centres)
    known = sorted([*means, *ends])
    if not known:
        return Axis(0.0, 1.0, False, ())
    low, high = known[0], known[-1]
    if low > 0 and means and means[-1] / means[0] > _LOG_FROM:
        return Axis(low, high, True, _log_ticks(low, high))
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        slack = abs(low) / 10 or 1.0
        low, high = low - slack, high + slack
    axis = Axis(low, high, False, ())
    return Axis(low, high, False, tuple((axis.place(tick), text) for tick, text in _ticks(low, high)))


def _strip(column: Column, lines: Mapping[str, Line]) -> Strip:
    axis = axis_of(_known(lines, "mean", "floor"), _known(lines, "low", "high", "floor_low", "floor_high"))
    return Strip(column, axis, tuple(_mark(axis, line) for line in lines.values()))


def _known(lines: Mapping[str, Line], *keys: str) -> list[float]:
    return [line[key] for line in lines.values() for key in keys if line[key] is not None and math.isfinite(line[key])]


def _mark(axis: Axis, line: Line) -> StripMark:
    at = {key: axis.place(line[key]) if line[key] is not None and math.isfinite(line[key]) else None for key in _KEYS}

    def span(low: str, high: str) -> tuple[float, float] | None:
        start, end = at[low], at[high]
        return None if start is None or end is None else (start, end)

    return StripMark(line["explainer"], at["mean"], span("low", "high"), at["floor"], span("floor_low", "floor_high"), cue_of(line))


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    places = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(place * step, _tick_text(place * step)) for place in places]


def _log_ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    axis = Axis(low, high, True, ())
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    every = max(1, math.ceil(len(powers) / 5))
    return tuple((axis.place(10.0**power), _tick_text(10.0**power)) for power in powers[::every])


def _tick_text(value: float) -> str:
    text = f"{value:.10g}"
    return text.replace("-", "−") if "e" not in text else number(value, 0)
