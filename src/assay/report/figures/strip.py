"""Strips: every explainer's interval as a line with a dot, a strip for each measure; of scores over the band of a random map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from assay.report.evidence import Ends, Standings
from assay.report.summary import Summary
from assay.report.summary_table import Column, Line, by_measure, cue_of
from assay.report.text import number

__all__ = ["Axis", "Strip", "StripMark", "axis_of", "standing_strips", "strips"]

_KEYS = ("mean", "low", "high", "floor", "floor_low", "floor_high")
_LOG_FROM = 50.0
_WIDEST = (-1.0, 2.0)
"""What a standing's axis shows at most; what lies outside stands at its end and is told in figures."""


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
    """One explainer's places in per cent: dot, interval and the random map's band (from, to); None where a value is missing.

    `words` say what the cue says, and `figure` stands at the end of the lane.
    """

    explainer: str
    dot: float | None
    interval: tuple[float, float] | None
    floor: float | None
    band: tuple[float, float] | None
    cue: str
    words: str
    figure: str = ""


@dataclass(frozen=True)
class Strip:
    """A measure with its axis and one mark for each explainer; `told` says which way is better."""

    title: str
    told: str
    axis: Axis
    marks: tuple[StripMark, ...]


def strips(summary: Summary) -> tuple[Strip, ...]:
    """Lay out one strip for each measure of the summary, in the order of its table."""
    return tuple(_strip(column, lines) for column, lines in by_measure(summary))


def standing_strips(part: Standings) -> tuple[Strip, ...]:
    """Lay out one strip for each measure, all on one axis on which 0 and 1 are marked."""
    known = [value for one in part.measures.values() for ends in one.values() for value in ends if math.isfinite(value)]
    low, high = max(_WIDEST[0], min([0.0, *known])), min(_WIDEST[1], max([1.0, *known]))
    bare = Axis(low, high, False, ())
    words = ((0.0, "null"), (1.0, "control"))
    axis = Axis(low, high, False, tuple((bare.place(at), text) for at, text in words))
    return tuple(
        Strip(measure, "better →", axis, tuple(_stand(axis, name, ends, name in part.trusted) for name, ends in one.items()))
        for measure, one in part.measures.items()
    )


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
    told = ("better →" if column.higher_is_better else "← better") + (" · log scale" if axis.logarithmic else "")
    return Strip(column.measure, told, axis, tuple(_mark(axis, line) for line in lines.values()))


def _known(lines: Mapping[str, Line], *keys: str) -> list[float]:
    return [line[key] for line in lines.values() for key in keys if line[key] is not None and math.isfinite(line[key])]


def _mark(axis: Axis, line: Line) -> StripMark:
    at = {key: axis.place(line[key]) if line[key] is not None and math.isfinite(line[key]) else None for key in _KEYS}

    def span(low: str, high: str) -> tuple[float, float] | None:
        start, end = at[low], at[high]
        return None if start is None or end is None else (start, end)

    cue = cue_of(line)
    words = line["verdict"] if cue != "none" else "not judged"
    return StripMark(line["explainer"], at["mean"], span("low", "high"), at["floor"], span("floor_low", "floor_high"), cue, words)


def _stand(axis: Axis, name: str, ends: Ends, trusted: bool) -> StripMark:
    cue, words = ("better", "trusted") if trusted else ("same", "not trusted")
    if not math.isfinite(ends[0]):
        return StripMark(name, None, None, axis.place(0.0), None, "none", "not known", "n/a")
    mean, low, high = (axis.place(min(max(one, axis.low), axis.high)) if math.isfinite(one) else None for one in ends)
    interval = None if low is None or high is None else (low, high)
    beyond = " →" if ends[0] > axis.high else " ←" if ends[0] < axis.low else ""
    told = number(ends[0], 2) + beyond
    words = f"{words}, {told}" + ("" if interval is None else f" ({number(ends[1], 2)} to {number(ends[2], 2)})")
    return StripMark(name, mean, interval, axis.place(0.0), None, cue, words, told)


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
