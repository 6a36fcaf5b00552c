"""What a command says when it is done: the verdict in a line, tables that fit the terminal, and where the results are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from assay.report import Sentence
    from assay.study.study import TerminalTable

__all__ = ["MANNER", "OVER", "Manner", "Told", "print_grid", "table_parts", "tell"]


@dataclass(frozen=True)
class Manner:
    """How commands speak.

    Attributes:
        quiet: No progress, no tables: the verdict in a line, and where the results are.
        json: One JSON object on standard output, and nothing else there.
        intervals: Tables show intervals beside means.
        tables: How tables are printed: for people, as LaTeX or as Markdown, both with intervals.
    """

    quiet: bool = False
    json: bool = False
    intervals: bool = False
    tables: Literal["text", "tex", "md"] = "text"


_USUAL = Manner()
MANNER: ContextVar[Manner] = ContextVar("manner", default=_USUAL)
"""How this call of the command line speaks."""

OVER = "This run was finished before; nothing was left to do."

_INTERVAL = re.compile(r" ?\(\S+ to \S+\)")
_SPEC = 30
"""Characters of a spec in a line of a table, before it goes on in the next."""
_HEADING = 12
_NUMBERS = frozenset({"", *"0123456789-−+n–<"})
"""How the cells of columns of numbers begin; "n/a" is one."""


@dataclass(frozen=True)
class Told:
    """What a command says.

    Attributes:
        sentences: The verdict.
        grids: Tables.
        said: Further lines.
        main: A word for what the reader should open, and its path.
    """

    sentences: Sequence[Sentence] = ()
    grids: Sequence[TerminalTable] = ()
    said: Sequence[str] = ()
    main: tuple[str, str] | None = None

    @property
    def headline(self) -> str | None:
        """The verdict in a line: its first good or bad sentence, else its first."""
        chosen = next((one for one in self.sentences if one.tone in ("good", "bad")), next(iter(self.sentences), None))
        return None if chosen is None else chosen.text


def tell(told: Told) -> None:
    """Print it in the manner that was asked for: the headline, tables, the rest of the verdict, the place of the results."""
    manner = MANNER.get()
    if manner.json:
        typer.echo(json.dumps(_plain(told), ensure_ascii=False, indent=2))
        return
    console = _console()
    if told.headline is not None:
        console.print(told.headline, markup=False, style="bold")
    if not manner.quiet:
        for grid in told.grids:
            print_grid(grid, console)
        for sentence in told.sentences:
            if sentence.text != told.headline:
                console.print(f"- {sentence.text}", markup=False)
        for line in told.said:
            console.print(line, markup=False, soft_wrap=True)
    if told.main is not None:
        console.print(f"{told.main[0]}: {told.main[1]}", markup=False, soft_wrap=True)


def print_grid(grid: TerminalTable, console: Console | None = None) -> None:
    """Print a table, in several parts where it is wider than the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    manner = MANNER.get()
    if manner.tables != "text":
        typer.echo(_written(grid, manner.tables))
        return
    console = console or _console()
    rows = [tuple(_INTERVAL.sub("", text) if not MANNER.get().intervals else text for text in row) for row in grid.rows]
    console.print(f"\n{grid.title}", markup=False, highlight=False)
    for head, lines in table_parts(grid.head, rows, console.width, grid.keys):
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))  # Two spaces between columns.
        for place, heading in enumerate(head):
            numeric = place and all(line[place][:1] in _NUMBERS for line in lines)
            table.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
        for line in lines:
            table.add_row(*line)
        console.print(table, "", markup=False, sep="\n")


def table_parts(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int, keys: int = 1
) -> Iterator[tuple[list[str], list[list[str]]]]:
    """A table in parts that are at most `width` characters wide, each with the first columns; no word is broken unless it alone is wider.

    Args:
        head: Headings; they go on in the next line between words, and after brackets and commas.
        rows: Texts, as many as headings; those of the first column go on in the next line after brackets and commas.
        width: Characters, with two between columns.
        keys: How many of the first columns say what a row is.

    Yields:
        Headings and rows of each part, with line breaks where lines go on.
    """
    natural = [_wide([heading, *cells]) for heading, *cells in zip(head, *rows, strict=True)]
    if sum(natural) + 2 * len(head) - 2 <= width:
        yield list(head), [list(row) for row in rows]
        return
    columns = [
        [_folded(row[place], min(_SPEC, width // (1 + keys)) if place < keys else _SPEC) for row in rows] for place in range(len(head))
    ]
    headings = [_folded(text, max(_HEADING, _wide(column)), cut=False) for text, column in zip(head, columns, strict=True)]
    sizes = [_wide([heading, *column]) + 2 for heading, column in zip(headings, columns, strict=True)]
    start = keys
    while True:
        room, end = width + 2 - sum(sizes[:keys]), start
        while end < len(columns) and (end == start or sizes[end] <= room):
            room -= sizes[end]
            end += 1
        shown = (*range(keys), *range(start, end))
        yield [headings[at] for at in shown], [[columns[at][row] for at in shown] for row in range(len(rows))]
        if (start := end) >= len(columns):
            return


def _written(grid: TerminalTable, form: Literal["tex", "md"]) -> str:
    """The whole table as LaTeX or Markdown."""
    from assay.report.export import text_latex, text_markdown

    rows = [[" ".join(text.split()) for text in row] for row in grid.rows]
    numeric = [place > 0 and all(row[place][:1] in _NUMBERS for row in rows) for place in range(len(grid.head))]
    if form == "tex":
        return text_latex(grid.title, grid.head, rows, numeric)
    return text_markdown(grid.title, "", grid.head, rows, numeric)


def _wide(texts: Sequence[str]) -> int:
    return max((len(line) for text in texts for line in text.split("\n")), default=0)


def _folded(text: str, width: int, cut: bool = True) -> str:
    """A spec in lines of at most `width` characters, broken after brackets, commas and spaces; longer words are cut, or stay whole."""
    return "\n".join(_lines(re.findall(r"\(?[^(,\s]+[(,]*\s*|[(,)]+\s*|\s+", text), width, cut))


def _lines(words: Sequence[str], width: int, cut: bool) -> list[str]:
    lines = [""]
    for whole in words:
        word = whole
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        while cut and len(word.rstrip()) > width:
            lines[-1:] = [word[:width], ""]
            word = word[width:]
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _plain(told: Told) -> dict[str, object]:
    """What it says as plain values."""
    return {
        "verdict": [{"tone": one.tone, "text": one.text} for one in told.sentences],
        "headline": told.headline,
        "tables": [{"title": one.title, "rows": [dict(zip(one.head, row, strict=True)) for row in one.rows]} for one in told.grids],
        "notes": list(told.said),
        "results": None if told.main is None else told.main[1],
    }


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)
