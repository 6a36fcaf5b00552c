"""A study's tables and figures as files of its run folder and as parts of its page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from assay.papers.settings import Strict, texts
from assay.report.export import Table, cell_texts, headings, table_files
from assay.report.figures.plots import FIGURE_FORMS, to_bytes
from assay.report.page import Page, Picture, Section, Sentence, TextTable
from assay.report.render import render
from assay.run.folder import Run
from assay.study.study import Report, StepwiseStudy

if TYPE_CHECKING:  # Loaded where a figure is drawn: it takes a third of a second.
    from matplotlib.figure import Figure

__all__ = ["REPORT", "RESULTS", "Drawing", "PaperStudy", "drawn", "grid"]

REPORT, RESULTS = "report.html", "results.json"
"""The page and the verdict of a finished study, in its run folder."""


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


class PaperStudy(StepwiseStudy):
    """Base of the papers' studies, whose results are one page, its tables and figures, and a verdict.

    Attributes:
        settings: What is done.
        file: The study file that the settings come from.
    """

    settings: Strict
    file: Path | None
    title: ClassVar[str]
    lead: ClassVar[str]
    rules: ClassVar[str]
    headings: ClassVar[Mapping[str, tuple[str, ...]]]
    """Headings of the report's parts, with the sections, or names, of the tables under each; a figure names one of these."""

    def reported(
        self,
        run: Run,
        facts: Mapping[str, str],
        verdict: Sequence[Sentence],
        tables: Sequence[Table],
        drawings: Sequence[Drawing],
        more: Mapping[str, bytes],
        **told: Any,
    ) -> Report:
        """What the study comes to: `report.html`, `tables/`, `figures/`, `results.json` with the verdict and what is told, and more."""
        figures, pictures = drawn(drawings)
        sections = []
        for heading, names in self.headings.items():
            grids = [grid(one) for name in names for one in tables if (one.section or one.name) == name]
            shown = (*grids, *(pictures[one.name] for one in drawings if one.section in names))
            sections += [Section(heading, "", shown)] if grids else []
        page = Page(
            title=self.title,
            kind="study",
            lead=self.lead,
            facts=facts,
            verdict=tuple(verdict),
            rules=self.rules,
            sections=tuple(sections),
            settings=texts(self.settings),
            record=run.answers,
        )
        files = {f"tables/{name}": content for table in tables for name, content in table_files(table).items()}
        results = json.dumps({"verdict": [asdict(one) for one in verdict], **told}, indent=2) + "\n"
        files |= {**figures, RESULTS: results.encode(), REPORT: render(page).encode(), **more}
        return replace(_ended(verdict), groups=(lambda: files,))

    @final
    def again(self, asked: Any, folder: Path) -> Report:
        """See `StepwiseStudy.again`."""
        said = json.loads((folder / RESULTS).read_text("utf-8"))
        return _ended([Sentence(**one) for one in said["verdict"]])


def _ended(verdict: Sequence[Sentence]) -> Report:
    return Report(found=lambda: tuple(verdict), sentences=tuple(verdict), main=("report", REPORT))


def drawn(drawings: Sequence[Drawing]) -> tuple[dict[str, bytes], dict[str, Picture]]:
    """`figures/`: each figure in every form; and the pictures of the page by name."""
    files: dict[str, bytes] = {}
    pictures = {}
    for drawing in drawings:
        forms = {form: to_bytes(drawing.draw, form) for form in FIGURE_FORMS}
        files |= {f"figures/{drawing.name}.{form}": content for form, content in forms.items()}
        # Photographs as SVG are several times as large.
        chosen: Literal["png", "svg"] = "png" if drawing.has_images else "svg"
        pictures[drawing.name] = Picture(drawing.caption, forms[chosen], chosen)
    return files, pictures


def grid(table: Table) -> TextTable:
    """A table as the page shows it."""
    shown = headings(table)
    numeric = tuple(table.frame.schema[name].is_numeric() for name in shown)
    return TextTable(table.title, table.note, tuple(shown), tuple(map(tuple, cell_texts(table))), numeric)
