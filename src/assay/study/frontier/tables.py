"""What smoothing one explainer gives and costs: tables, and what is read off them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from assay.core.registry import nearest
from assay.errors import SpecError
from assay.report.page import Sentence
from assay.study.frontier.findings import frontier_sentences, knee_of

__all__ = ["FrontierTables", "Knee"]


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
class FrontierTables:
    """What smoothing one explainer of one model gives and costs, width by width.

    Attributes:
        table: Long table: image (global number), explainer, kernel ("none" at width 0), width, quantity, value (NaN where unknown, such
            as attacks on images that were not attacked), kind ("robustness" or "faithfulness"), higher_is_better.
        summary: One row for each width and quantity; see `assay.study.frontier.findings.frontier_summary`.
        trends: One row for each quantity; see `assay.study.frontier.findings.frontier_trends`.
        status: One row per image: image, name, status ("ok" or what was wrong), label, predicted class, whether that is right and
            the image could be read.
        explainer: The explainer's short spec.
        model: What the reader calls the model.
        robustness: The quantity that robustness is told and drawn by.
        seed: Of the run.
        record: The seven reproducibility answers.
        meanings: What each quantity says, in a sentence.
        unit: What the kernels call their width: "sigma", "radius".
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
    unit: str = "width"

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
        found = knee_of(self.table, self.known(robustness or self.robustness), self.known(notion), self.seed)
        if found is None:
            return None
        row = self.rows_of(notion).row(found.place, named=True)
        return Knee(row["width"], row["kernel"], found.height, found.support)

    def reaching(self, level: float, quantity: str | None = None, surely: bool = False) -> float | None:
        """The smallest width at which the mean of a quantity is `level` or better; None where no width reaches it.

        Args:
            level: What is wanted.
            quantity: Any quantity; the robustness of this frontier when None.
            surely: Ask it of the 95% interval's worse end, and not of the mean.

        Raises:
            SpecError: There is no such quantity.
        """
        rows = self.rows_of(self.known(quantity or self.robustness))
        up = rows["higher_is_better"][0]
        values = rows["mean" if not surely else "low" if up else "high"]
        return next((width for width, value in zip(rows["width"], values, strict=True) if (value >= level if up else value <= level)), None)

    def known(self, quantity: str) -> str:
        """The name of a quantity, as it is.

        Raises:
            SpecError: There is none of this name.
        """
        names = self.trends["quantity"].to_list()
        if quantity not in names:
            raise SpecError(f"there is no quantity {quantity!r}{nearest(quantity, names)} (there are: {', '.join(names)})")
        return quantity

    def rows_of(self, quantity: str) -> pl.DataFrame:
        """The rows of `summary` of a quantity, width by width."""
        return self.summary.filter(pl.col("quantity") == quantity)
