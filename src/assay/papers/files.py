"""A study's tables and figures as files of its run folder and as parts of its page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from assay.core.whole_files import replacing
from assay.report.export import Table, cell_texts, headings, write_table
from assay.report.figures.plots import FIGURE_FORMS, to_bytes
from assay.report.page import Picture, Sentence, TextTable
from assay.run.folder import Run

__all__ = ["REPORT", "RESULTS", "Drawing", "PaperResult", "grid", "write_drawings", "write_results", "write_tables"]

REPORT, RESULTS = "report.html", "results.json"
"""The page and the verdict of a finished study, in its run folder."""


@dataclass(frozen=True)
class PaperResult:
    """How a paper's study ended.

    Attributes:
        folder: The run folder.
        verdict: Plain words, most important first.
        over: Whether an earlier start had finished it, so that nothing was left to do.
    """

    folder: Path
    verdict: tuple[Sentence, ...]
    over: bool

    @classmethod
    def of(cls, run: Run) -> PaperResult:
        """What a finished run's `results.json` says."""
        said = json.loads((run.folder / RESULTS).read_text("utf-8"))
        return cls(run.folder, tuple(Sentence(**one) for one in said["verdict"]), run.over)

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / REPORT


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn.

    Attributes:
        name: Stem of its files.
        caption: What it shows.
        draw: Draws it.
        has_images: Whether images of the data set are in it, which must not leave the run folder.
        section: The part of the report that it belongs to.
    """

    name: str
    caption: str
    draw: Callable[[], Figure]
    has_images: bool
    section: str = ""


def write_tables(tables: Sequence[Table], folder: Path) -> list[str]:
    """Write `tables/`; returns the files' paths within the folder.

    Raises:
        OSError: The folder cannot be written.
    """
    (folder / "tables").mkdir(exist_ok=True)
    return [str(path.relative_to(folder)) for table in tables for path in write_table(table, folder / "tables")]


def write_drawings(drawings: Sequence[Drawing], folder: Path) -> tuple[list[str], dict[str, Picture]]:
    """Write `figures/`; returns the files' paths within the folder, and the pictures by name.

    Raises:
        OSError: The folder cannot be written.
    """
    (folder / "figures").mkdir(exist_ok=True)
    files, pictures = [], {}
    for drawing in drawings:
        drawn = {form: to_bytes(drawing.draw, form) for form in FIGURE_FORMS}
        files += [_put(folder, f"figures/{drawing.name}.{form}", content) for form, content in drawn.items()]
        # Photographs as SVG are several times as large.
        chosen: Literal["png", "svg"] = "png" if drawing.has_images else "svg"
        pictures[drawing.name] = Picture(drawing.caption, drawn[chosen], chosen)
    return files, pictures


def write_results(folder: Path, verdict: Sequence[Sentence], **more: Any) -> str:
    """Write `results.json`, the verdict and what else is given; returns its path within the folder."""
    told = {"verdict": [asdict(one) for one in verdict], **more}
    return _put(folder, RESULTS, (json.dumps(told, indent=2) + "\n").encode())


def _put(folder: Path, name: str, content: bytes) -> str:
    with replacing(folder / name) as draft:
        draft.write_bytes(content)
    return name


def grid(table: Table) -> TextTable:
    """A table as the page shows it."""
    shown = headings(table)
    numeric = tuple(table.frame.schema[name].is_numeric() for name in shown)
    return TextTable(table.title, table.note, tuple(shown), tuple(map(tuple, cell_texts(table))), numeric)
