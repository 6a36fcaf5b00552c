"""A study's tables and figures as files of its run folder and as parts of its page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from assay.core.files import replacing
from assay.report.export import Table, cell_texts, headings, write_table
from assay.report.figures.plots import FIGURE_FORMS, to_bytes
from assay.report.page import Picture, TextTable

__all__ = ["RESULTS", "Drawing", "grid", "put_file", "write_drawings", "write_tables"]

RESULTS = "results.json"
"""The verdict of a finished study, in its run folder."""


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
        files += [put_file(folder, f"figures/{drawing.name}.{form}", content) for form, content in drawn.items()]
        # Photographs as SVG are several times as large.
        chosen: Literal["png", "svg"] = "png" if drawing.has_images else "svg"
        pictures[drawing.name] = Picture(drawing.caption, drawn[chosen], chosen)
    return files, pictures


def put_file(folder: Path, name: str, content: bytes) -> str:
    """Write one file, whole or not at all; returns its path within the folder."""
    with replacing(folder / name) as draft:
        draft.write_bytes(content)
    return name


def grid(table: Table) -> TextTable:
    """A table as the page shows it."""
    shown = headings(table)
    numeric = tuple(table.frame.schema[name].is_numeric() for name in shown)
    return TextTable(table.title, table.note, tuple(shown), tuple(map(tuple, cell_texts(table))), numeric)
