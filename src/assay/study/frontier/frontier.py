"""`frontier`: what the robustness of smoothed explanations costs in faithfulness to the model, notion by notion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from matplotlib.figure import Figure

from assay.core.files import replacing
from assay.core.registry import nearest, short
from assay.errors import DataError, ShapeError, SpecError
from assay.report.export import to_pandas
from assay.report.faces import Face, figure_picture, fragment
from assay.report.figures.frontier_plot import plot_trade_offs
from assay.report.figures.plots import to_bytes
from assay.report.page import Sentence
from assay.report.render import write
from assay.study.frontier.findings import frontier_sentences, frontier_summary, frontier_trends, knee_of
from assay.study.frontier.page import frontier_page, lines_of_plot
from assay.study.frontier.sweep import Sweep

__all__ = ["FIGURE", "Frontier", "Knee", "frontiers_of", "plot_frontiers"]

FIGURE: tuple[Literal["png", "svg"], ...] = ("png", "svg")
"""Forms in which the figure is written."""


@dataclass(frozen=True)
class Knee:
    """Where a trade-off bends.

    Attributes:
        width: Sigma, or radius, of the kernel.
        kernel: Its spec.
        height: How far the width's mean lies above the chord from the first to the last, both axes scaled to the chord's ends.
        support: Share of bootstrap resamples whose knee is the same.
    """

    width: float
    kernel: str
    height: float
    support: float


@dataclass(frozen=True, eq=False)
class Frontier:
    """What smoothing one explainer of one model gives and costs, width by width.

    Attributes:
        table: Long table: image (global number), explainer, kernel ("none" at width 0), width, quantity, value (NaN where unknown, such
            as attacks on images that were not attacked), kind ("robustness" or "faithfulness"), higher_is_better.
        summary: One row for each width and quantity; see `assay.study.frontier.findings.frontier_summary`.
        trends: One row for each quantity; see `assay.study.frontier.findings.frontier_trends`.
        status: One row per image: image, name, status ("ok" or what was wrong), label, predicted class.
        explainer: The explainer's short spec.
        model: What the reader calls the model.
        robustness: The quantity that robustness is told and drawn by.
        seed: Of the run.
        record: The seven reproducibility answers.
        meanings: What each quantity says, in a sentence.
    """

    table: pl.DataFrame
    summary: pl.DataFrame
    trends: pl.DataFrame
    status: pl.DataFrame
    explainer: str
    model: str
    robustness: str
    seed: int
    record: Mapping[str, Any]
    meanings: Mapping[str, str]

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

    @property
    def notions(self) -> tuple[str, ...]:
        """The measures of faithfulness."""
        return tuple(self.trends.filter(pl.col("kind") == "faithfulness")["quantity"])

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """The verdict, with its tones."""
        return tuple(frontier_sentences(self.table, self.summary, self.trends, self.robustness, self.seed))

    @property
    def verdict(self) -> tuple[str, ...]:
        """The verdict in plain words."""
        return tuple(one.text for one in self.sentences)

    def knee(self, notion: str, robustness: str | None = None) -> Knee | None:
        """The width after which a notion of faithfulness pays most for little robustness; None where nothing bends or trades.

        Args:
            notion: A measure of faithfulness, one of `notions`.
            robustness: A quantity of robustness; that of this frontier when None.

        Source: Satopaa et al. 2011 (Kneedle); the rule is in `assay.study.frontier.statistics.bend`.

        Raises:
            SpecError: There is no such quantity.
        """
        found = knee_of(self.table, self._known(robustness or self.robustness), self._known(notion), self.seed)
        if found is None:
            return None
        row = self._rows(notion).row(found.place, named=True)
        return Knee(row["width"], row["kernel"], found.height, found.support)

    def reaching(self, level: float, quantity: str | None = None, surely: bool = False) -> float | None:
        """The smallest width at which the mean of a quantity is `level` or better; None where no width reaches it.

        Args:
            level: What is wanted.
            quantity: Any quantity; the robustness of this frontier when None.
            surely: Ask it of the 95 % interval's worse end, and not of the mean.

        Raises:
            SpecError: There is no such quantity.
        """
        rows = self._rows(self._known(quantity or self.robustness))
        up = rows["higher_is_better"][0]
        values = rows["mean" if not surely else "low" if up else "high"]
        return next((width for width, value in zip(rows["width"], values, strict=True) if (value >= level if up else value <= level)), None)

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
        """Write report.html, frontier.parquet, summary.csv, trends.csv, status.csv, figure.png, figure.svg and environment.json.

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
            for form in FIGURE:
                with replacing(folder / f"figure.{form}") as draft:
                    draft.write_bytes(to_bytes(self.plot, form))
            with replacing(folder / "environment.json") as draft:
                draft.write_text(json.dumps(self.record, indent=2) + "\n")
        except OSError as error:
            raise DataError(f"cannot write the frontier to {folder}: {error.strerror or error}") from error
        self.to_html(folder / "report.html")
        return folder

    def _known(self, quantity: str) -> str:
        names = self.trends["quantity"].to_list()
        if quantity not in names:
            raise SpecError(f"there is no quantity {quantity!r}{nearest(quantity, names)} (there are: {', '.join(names)})")
        return quantity

    def _rows(self, quantity: str) -> pl.DataFrame:
        return self.summary.filter(pl.col("quantity") == quantity)


def frontiers_of(sweep: Sweep, table: pl.DataFrame, status: pl.DataFrame, record: Mapping[str, Any], name: str) -> tuple[Frontier, ...]:
    """One frontier for each explainer of a sweep.

    Args:
        sweep: What was done.
        table: The long table of all blocks.
        status: One row per image.
        record: The seven reproducibility answers.
        name: What the reader calls the model.
    """
    quantities = sweep.quantities
    meanings = {one.name: one.meaning for one in quantities}
    found = []
    for explainer in map(short, sweep.explainers):
        own = table.filter(pl.col("explainer") == explainer)
        summary, trends = frontier_summary(own, sweep.seed), frontier_trends(own)
        found.append(Frontier(own, summary, trends, status, explainer, name, quantities[0].name, sweep.seed, record, meanings))
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
            one._known(quantity)
    return plot_trade_offs(*lines_of_plot(frontiers, labels, robustness or frontiers[0].robustness))
