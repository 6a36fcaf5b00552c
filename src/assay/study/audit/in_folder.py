"""An audit in a run folder: images of any number, several processes, killed and started again as often as it happens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from assay.core.progress import Progress, silent
from assay.report import Sentence, render
from assay.run.folder import Run
from assay.study.audit.audit import audit_blocks
from assay.study.audit.findings import findings, tally
from assay.study.audit.work import Work
from assay.study.source import Source

__all__ = ["Outcome", "audit_run"]

_SCORES, _SUMMARY, _ANSWERS, _STATUS, _REPORT = "scores.parquet", "summary.csv", "answers.csv", "status.csv", "report.html"
_VERDICT = "verdict.json"


@dataclass(frozen=True, eq=False)
class Outcome:
    """How an audit ended.

    Attributes:
        report: The report's path.
        summary: As in `Audit`.
        verdict: The verdict in plain words.
        problems: How many images had problems.
    """

    report: Path
    summary: pl.DataFrame
    verdict: tuple[Sentence, ...]
    problems: int


def audit_run(
    run: Run, work: Work, source: Source, *, name: str, classes: Sequence[str] = (), progress: Progress = silent
) -> Outcome | None:
    """Do what is left of an audit, and write its results when all is done.

    Args:
        run: The run folder.
        work: What to do.
        source: The images.
        name: What the reader calls the model.
        classes: Names of the labels' classes; none when labels are the model's own class numbers.
        progress: Called as work goes on.

    Returns:
        The outcome in the first process, None in the others.

    Raises:
        EmptyBatchError: No image could be read.
        NotFiniteError: The model gives NaN or infinity for every image.
        DataError: The disk is full or the folder cannot be written.
    """
    with run.ranks.together():
        audit_blocks(work, source, run, run.blocks, run.share(), progress)
    with run.ranks.together():
        if not run.ranks.first:
            return None
        if not run.over:
            _finish(run, work, source, name, classes)
        summary = _read(run.folder / _SUMMARY)
        counted = tally(run)
        told = tuple(Sentence(**one) for one in json.loads((run.folder / _VERDICT).read_text(encoding="utf-8")))
        return Outcome(run.folder / _REPORT, summary, told, counted.troubled)


def _finish(run: Run, work: Work, source: Source, name: str, classes: Sequence[str]) -> None:
    summary, page, told = findings(work, source, run, run.blocks, run.answers, name, classes)
    run.merge("scores", _SCORES)
    run.merge("status", _STATUS)
    run.put(_SUMMARY, summary.write_csv())
    run.put(_ANSWERS, told.table.write_csv())
    run.put(_VERDICT, json.dumps([asdict(one) for one in page.verdict], indent=2) + "\n")
    run.put(_REPORT, render(page))
    run.finish([_SCORES, _STATUS, _SUMMARY, _ANSWERS, _VERDICT, _REPORT])


def _read(path: Path) -> pl.DataFrame:
    numbers = dict.fromkeys(("mean", "low", "high", "floor", "floor_low", "floor_high"), pl.Float64)
    return pl.read_csv(path, schema_overrides=numbers).with_columns(pl.col("verdict").cast(pl.String).fill_null(""))
