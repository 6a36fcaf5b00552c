"""What an audit found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from assay.core.whole_files import replacing
from assay.errors import DataError
from assay.report import Page, write
from assay.study.audit.answers import Answers
from assay.study.audit.views import AuditViews

__all__ = ["Audit"]


@dataclass(frozen=True, eq=False, repr=False)
class Audit(AuditViews):
    """What an audit found.

    Attributes:
        scores: Long table: image (global number), explainer, measure, value, direction ("higher" or "lower" is better);
            the random map's rows included.
        summary: One row for each explainer and measure: mean and 95% interval, the random map's, the verdict, and the measure's kind
            (such as "faithfulness") and statistic (what is measured, whatever its parameters).
        page: The report, ready to be written.
        record: The seven reproducibility answers.
        status: One row per image: image, name, status ("ok" or what was wrong), label, predicted class, whether that is right and
            the image could be read.
    """

    scores: pl.DataFrame
    summary: pl.DataFrame
    status: pl.DataFrame
    record: Mapping[str, Any]
    page: Page
    _answers: Answers

    @property
    def answers(self) -> pl.DataFrame:
        """Table: explainer, question, measure, difference, low, high, effect, p, holds, status, needed.

        A question ("where", "this image", "this model", "more than the image") is what the explainer's maps were held against; `difference`
        is theirs less the null's, positive being better; low and high are its corrected interval, `effect` is in standard deviations, p is
        one-sided and corrected; `holds` is true where the question is shown to be passed, false where it is shown to be failed, and else
        empty: `status` says why ("undecided", "open" where it could not be asked, "not asked" where the measure is silent or too weak), and
        `needed` how many images would do where it is undecided.
        """
        return self._answers.table

    @property
    def trusted(self) -> tuple[str, ...]:
        """Names of the explainers that pass every question."""
        return self._answers.trusted

    @property
    def recommended(self) -> str | None:
        """The trusted explainer that was chosen on one half of the images and confirmed on the other, or None."""
        return self._answers.recommended

    @property
    def silent(self) -> tuple[str, ...]:
        """Names of the measures that tell nothing on these images."""
        return self._answers.silent

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one self-contained HTML file; returns its path."""
        return write(self.page, path)

    def save(self, folder: str | Path) -> Path:
        """Write report.html, scores.parquet, summary.csv, answers.csv, status.csv and environment.json; returns the folder.

        Raises:
            DataError: The folder cannot be made or written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / "scores.parquet") as draft:
                self.scores.write_parquet(draft)
            for name, table in (("summary", self.summary), ("answers", self.answers), ("status", self.status)):
                with replacing(folder / f"{name}.csv") as draft:
                    table.write_csv(draft)
            with replacing(folder / "environment.json") as draft:
                draft.write_text(json.dumps(self.record, indent=2) + "\n")
        except OSError as error:
            raise DataError(f"cannot write the audit to {folder}: {error.strerror or error}") from error
        self.to_html(folder / "report.html")
        return folder

    @property
    def verdict(self) -> tuple[str, ...]:
        """The verdict in plain words."""
        return tuple(sentence.text for sentence in self.page.verdict)
