"""Tables of results in three forms: CSV for machines, Markdown for documents, LaTeX for papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from assay.core.display import needed_library
from assay.core.registry import nearest
from assay.errors import SpecError

__all__ = [
    "Table",
    "cell_texts",
    "headings",
    "latex",
    "markdown",
    "table_files",
    "text_latex",
    "text_markdown",
    "to_pandas",
    "wide",
]

LOW, HIGH = " low", " high"
"""What the names of an interval's two columns add to the name of the value's."""
_MATHS = {"−": "$-$", "–": "--", "≥": r"$\geq$", "≤": r"$\leq$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
_ESCAPES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {mark: f"\\{mark}" for mark in "&%$#_{}"}


@dataclass(frozen=True, eq=False)
class Table:
    """One table: text columns name the rows, number columns hold values.

    Attributes:
        name: Stem of its files.
        title: One line.
        note: How to read it, in a sentence or two.
        frame: The values; where a column `X` has columns `X low` and `X high`, they are its 95% interval.
        percent: Number columns that hold shares, shown as per cent.
        decimals: Decimals of the other numbers.
        section: The part of a report that it belongs to.
    """

    name: str
    title: str
    note: str
    frame: pl.DataFrame
    percent: frozenset[str] = frozenset()
    decimals: int = 3
    section: str = ""


def to_pandas(holder: object, table: str, known: Sequence[str]) -> Any:
    """One of an object's tables as a pandas DataFrame.

    Args:
        holder: Has the tables as attributes.
        table: Which.
        known: Their names.

    Raises:
        SpecError: There is no such table.
        AssayError: pandas is not installed.
    """
    if table not in known:
        raise SpecError(f"there is no table {table!r}{nearest(table, known)} (there are: {', '.join(known)})")
    return needed_library("pandas").DataFrame(getattr(holder, table).to_dict(as_series=False))


def wide(long: pl.DataFrame, rows: Sequence[str], on: str) -> pl.DataFrame:
    """Spread a long summary (columns `rows`, `on`, mean, low, high) into one line per row and three columns per value of `on`.

    Lines and columns come in the order of their first appearance; what was not measured is null.
    """
    order = long[on].unique(maintain_order=True).to_list()
    spread = long.pivot(on=on, index=list(rows), values=["mean", "low", "high"], maintain_order=True)
    # Polars names the columns mean_X, low_X and high_X.
    names = {f"{kind}_{name}": f"{name}{end}" for name in order for kind, end in (("mean", ""), ("low", LOW), ("high", HIGH))}
    return spread.rename(names).select(*rows, *(f"{name}{end}" for name in order for end in ("", LOW, HIGH)))


def headings(table: Table) -> list[str]:
    """The columns that are shown: intervals stand in their value's column."""
    return [name for name in table.frame.columns if not _is_end(table.frame, name)]


def cell_texts(table: Table) -> list[list[str]]:
    """The table's lines as texts, a dash for what was not measured."""
    shown = headings(table)
    return [[_cell(table, line, name) for name in shown] for line in table.frame.iter_rows(named=True)]


def markdown(table: Table) -> str:
    """The table in Markdown, its title and note above it."""
    numeric = [table.frame.schema[name].is_numeric() for name in headings(table)]
    return text_markdown(table.title, table.note, headings(table), cell_texts(table), numeric)


def latex(table: Table) -> str:
    """The table as a LaTeX `table` environment; needs the package booktabs."""
    numeric = [table.frame.schema[name].is_numeric() for name in headings(table)]
    return text_latex(f"{table.title} {table.note}".strip(), headings(table), cell_texts(table), numeric, f"tab:{table.name}")


def text_markdown(title: str, note: str, head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    """A table of texts in Markdown.

    Args:
        title: What stands above it in bold.
        note: What follows the title.
        head: Headings.
        rows: Texts, as many as headings.
        numeric: Which columns are of numbers, and stand to the right.
    """
    lines = [list(head), ["---:" if one else "---" for one in numeric], *map(list, rows)]
    body = "\n".join("| " + " | ".join(_markdown_escaped(text) for text in line) + " |" for line in lines)
    return f"**{title}** {note}".rstrip() + f"\n\n{body}\n"


def text_latex(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], label: str = "") -> str:
    """A table of texts as a LaTeX `table` environment; needs the package booktabs.

    Args:
        title: The caption.
        head: Headings.
        rows: Texts, as many as headings.
        numeric: Which columns are of numbers, and stand to the right.
        label: What a document may refer to it by.
    """
    layout = "".join("r" if one else "l" for one in numeric)
    lines = [" & ".join(map(_latex_escaped, line)) + r" \\" for line in (head, *rows)]
    body = "\n".join(["\\toprule", lines[0], "\\midrule", *lines[1:], "\\bottomrule"])
    named = f"\\label{{{label}}}\n" if label else ""
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{_latex_escaped(title)}}}\n{named}"
        f"\\begin{{tabular}}{{{layout}}}\n{body}\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def table_files(table: Table) -> dict[str, bytes]:
    """NAME.csv (every digit), NAME.md and NAME.tex."""
    texts = {"csv": table.frame.write_csv(), "md": markdown(table), "tex": latex(table)}
    return {f"{table.name}.{form}": text.encode() for form, text in texts.items()}


def _is_end(frame: pl.DataFrame, name: str) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in frame.columns for end in (LOW, HIGH))


def _cell(table: Table, line: dict[str, object], name: str) -> str:
    value = line[name]
    if value is None or value == "":
        return "–"
    if isinstance(value, float):
        text = _number(table, name, value)
        low, high = line.get(name + LOW), line.get(name + HIGH)
        if isinstance(low, float) and isinstance(high, float) and not math.isnan(low):
            text += f" ({_number(table, name, low)} to {_number(table, name, high)})"
        return text
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _number(table: Table, name: str, value: float) -> str:
    if not math.isfinite(value):
        return "–"
    # Three digits are enough of a large number.
    decimals = table.decimals if abs(value) < 10 else max(0, table.decimals - 2)
    text = f"{100 * value:.1f}" if name in table.percent else f"{value:.{decimals}f}"
    return text.replace("-", "−")


def _markdown_escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _latex_escaped(text: str) -> str:
    escaped = "".join(_ESCAPES.get(mark, mark) for mark in text)
    for mark, written in _MATHS.items():
        escaped = escaped.replace(mark, written)
    return escaped
