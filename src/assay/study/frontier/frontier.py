"""`frontier`: what the robustness of smoothed explanations costs in faithfulness to the model, notion by notion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from assay.core.registry import short
from assay.core.whole_files import replacing
from assay.errors import DataError, ShapeError
from assay.report.export import to_pandas
from assay.report.faces import Face, figure_picture, fragment
from assay.report.figures.frontier_plot import plot_trade_offs
from assay.report.figures.plots import FIGURE_FORMS, to_bytes
from assay.report.render import write
from assay.study.frontier.findings import frontier_summary, frontier_trends
from assay.study.frontier.frontier_page import frontier_page, lines_of_plot
from assay.study.frontier.sweep import Sweep, name_of_width
from assay.study.frontier.tables import FrontierTables

if TYPE_CHECKING:  # Loaded where a figure is drawn: it takes a third of a second.
    from matplotlib.figure import Figure

__all__ = ["Frontier", "frontiers_of", "plot_frontiers"]


@dataclass(frozen=True, eq=False, repr=False)
class Frontier(FrontierTables):
    """What smoothing one explainer of one model gives and costs, width by width; see `FrontierTables` for its tables."""

    def __repr__(self) -> str:
        widths = self.summary["width"].n_unique()
        images = self.status.filter(pl.col("status") == "ok").height
        return f"Frontier({self.explainer} of {self.model}: {widths} widths, {len(self.notions)} notions of faithfulness, {images} images)"

    def _repr_html_(self) -> str:
        return fragment(
            Face(repr(self), self.sentences, pictures=(figure_picture(self.plot(), "Robustness against each notion of faithfulness"),))
        )

    def to_pandas(self, table: str = "table") -> Any:
        """One of the tables (table, summary, trends, status) as a pandas DataFrame.

        Raises:
            AssayError: There is no such table, or pandas is not installed.
        """
        return to_pandas(self, table, ("table", "summary", "trends", "status"))

    def plot(self) -> Figure:
        """Robustness against each notion of faithfulness."""
        return plot_frontiers([self])

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one self-contained HTML file; returns its path.

        Raises:
            DataError: The path cannot be written.
        """
        return write(frontier_page([self]), path)

    def save(self, folder: str | Path) -> Path:
        """Write report.html, frontier.parquet, summary.csv, trends.csv, status.csv, figure.png, .svg and .pdf, and environment.json.

        Returns:
            The folder.

        Raises:
            DataError: The folder cannot be made or written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / "frontier.parquet") as draft:
                self.table.write_parquet(draft)
            for name, table in (("summary", self.summary), ("trends", self.trends), ("status", self.status)):
                with replacing(folder / f"{name}.csv") as draft:
                    table.write_csv(draft)
            for form in FIGURE_FORMS:
                with replacing(folder / f"figure.{form}") as draft:
                    draft.write_bytes(to_bytes(self.plot, form))
            with replacing(folder / "environment.json") as draft:
                draft.write_text(json.dumps(self.record, indent=2) + "\n")
        except OSError as error:
            raise DataError(f"cannot write the frontier to {folder}: {error.strerror or error}") from error
        self.to_html(folder / "report.html")
        return folder


def frontiers_of(sweep: Sweep, table: pl.DataFrame, status: pl.DataFrame, record: Mapping[str, Any], name: str) -> tuple[Frontier, ...]:
    """One frontier for each explainer of a sweep.

    Args:
        sweep: What was done.
        table: The long table of all blocks.
        status: One row per image.
        record: The seven reproducibility answers.
        name: What the reader calls the model.
    """
    quantities, unit = sweep.quantities, {name_of_width(one) for one in sweep.kernels if one is not None}.pop() or "width"
    meanings = {one.name: one.meaning for one in quantities}
    found = []
    for explainer in map(short, sweep.explainers):
        own = table.filter(pl.col("explainer") == explainer)
        summary, trends = frontier_summary(own, sweep.seed), frontier_trends(own)
        found.append(Frontier(own, summary, trends, status, explainer, name, quantities[0].name, sweep.seed, record, meanings, unit))
    return tuple(found)


def plot_frontiers(frontiers: Sequence[Frontier], labels: Sequence[str] | None = None, robustness: str | None = None) -> Figure:
    """Robustness against each notion of faithfulness, one panel for each notion, one line for each frontier.

    Args:
        frontiers: Of any explainers and models, with the same quantities.
        labels: What to call them; by default explainer and, where there are several, model.
        robustness: The quantity on the horizontal axis; that of the first frontier when None.

    Raises:
        ShapeError: There is no frontier, or not one label for each.
        SpecError: A frontier lacks a quantity.
    """
    if not frontiers or (labels is not None and len(labels) != len(frontiers)):
        raise ShapeError(
            f"{0 if labels is None else len(labels)} labels for {len(frontiers)} frontiers; give one for each, of one at least"
        )
    for one in frontiers:
        for quantity in (robustness or frontiers[0].robustness, *frontiers[0].notions):
            one.known(quantity)
    return plot_trade_offs(*lines_of_plot(frontiers, labels, robustness or frontiers[0].robustness))
