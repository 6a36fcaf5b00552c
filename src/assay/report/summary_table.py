"""The summary as a table of texts: explainers down, measures across, grouped by the measures' category."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from assay.report.summary import VERDICTS, MeasureNote, Summary
from assay.report.text import decimals_for, number, plural

__all__ = ["Cell", "Column", "SummaryTable", "TableRow", "by_measure", "cue_of", "summary_table"]

Line = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A measure: its name, the direction that is good, and what a reader must know of it."""

    measure: str
    higher_is_better: bool
    note: MeasureNote


@dataclass(frozen=True)
class Cell:
    """One explainer by one measure, as texts; `cue` is better, same, worse or none."""

    mean: str
    interval: str
    floor: str
    cue: str
    best: bool
    hint: str


@dataclass(frozen=True)
class TableRow:
    """One explainer: its cells (None: not measured), and how many of the judged ones beat a random map."""

    explainer: str
    cells: tuple[Cell | None, ...]
    wins: int
    judged: int


@dataclass(frozen=True)
class SummaryTable:
    """The columns with their categories' (name, width), and the rows in the order of the summary."""

    categories: tuple[tuple[str, int], ...]
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]


def by_measure(summary: Summary) -> list[tuple[Column, dict[str, Line]]]:
    """Each measure with its summary rows by explainer; measures of one category stand together, in order of appearance."""
    found: dict[str, dict[str, Line]] = {}
    notes = summary.notes
    for line in summary.frame.iter_rows(named=True):
        found.setdefault(line["measure"], {})[line["explainer"]] = line
    order = list(dict.fromkeys(notes[measure].category for measure in found))
    columns = [
        (Column(measure, bool(next(iter(lines.values()))["higher_is_better"]), notes[measure]), lines) for measure, lines in found.items()
    ]
    return sorted(columns, key=lambda column: order.index(column[0].note.category))


def summary_table(summary: Summary) -> SummaryTable:
    """Lay out the summary; of the means that beat a random map, those are marked that `best` names for their measure."""
    explainers = list(dict.fromkeys(summary.frame["explainer"]))
    columns = by_measure(summary)
    cells = [_cells(lines, (summary.best or {}).get(column.measure, ())) for column, lines in columns]
    widths: dict[str, int] = {}
    for column, _ in columns:
        widths[column.note.category] = widths.get(column.note.category, 0) + 1
    rows = tuple(_row(explainer, tuple(column.get(explainer) for column in cells)) for explainer in explainers)
    return SummaryTable(tuple(widths.items()), tuple(column for column, _ in columns), rows)


def cue_of(line: Line) -> str:
    """The short cue of a summary row's verdict; none where the mean is missing or there is no verdict."""
    return VERDICTS[line["verdict"]] if line["verdict"] and _finite(line["mean"]) else "none"


def _row(explainer: str, cells: tuple[Cell | None, ...]) -> TableRow:
    cues = [cell.cue for cell in cells if cell is not None and cell.cue != "none"]
    return TableRow(explainer, cells, cues.count("better"), len(cues))


def _cells(lines: Mapping[str, Line], best: Collection[str]) -> dict[str, Cell]:
    decimals = decimals_for(
        (line[key] for line in lines.values() for key in ("mean", "floor")),
        (line["high"] - line["low"] for line in lines.values() if _finite(line["low"]) and _finite(line["high"])),
    )
    return {
        explainer: _cell(line, decimals, explainer in best and line["verdict"] == "better than random") for explainer, line in lines.items()
    }


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _cell(line: Line, decimals: int, best: bool) -> Cell:
    def text(key: str) -> str:
        return number(line[key], decimals)

    def interval(low: str, high: str) -> str:
        return f"{text(low)} to {text(high)}" if _finite(line[low]) and _finite(line[high]) else "interval n/a"

    cue = cue_of(line)
    hint = (
        f"{line['explainer']} by {line['measure']}: mean {text('mean')} ({interval('low', 'high')}) over {plural(line['count'], 'image')}; "
        f"a random map scores {text('floor')} ({interval('floor_low', 'floor_high')}): {'not judged' if cue == 'none' else line['verdict']}"
    )
    return Cell(text("mean"), interval("low", "high"), text("floor"), cue, best, hint)
