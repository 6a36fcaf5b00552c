"""A sweep over smoothing widths in a run folder: images of any number, several processes, killed and started again at any moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assay.core.files import write_all
from assay.core.progress import Progress, silent
from assay.errors import EmptyBatchError
from assay.report.plots import to_bytes
from assay.report.study_page import render_study
from assay.study.findings import few, tally
from assay.study.frontier import FIGURE, Frontier, frontiers_of, plot_frontiers
from assay.study.frontier_page import frontier_page
from assay.study.frontier_sweep import Sweep, sweep_blocks
from assay.study.run import Run
from assay.study.source import Source

__all__ = ["Swept", "frontier_run"]

_TABLE, _SUMMARY, _TRENDS, _STATUS, _REPORT = "frontier.parquet", "summary.csv", "trends.csv", "status.csv", "report.html"


@dataclass(frozen=True, eq=False)
class Swept:
    """How a sweep ended.

    Attributes:
        frontiers: One for each explainer.
        problems: How many images had problems.
        report: The report's path.
    """

    frontiers: tuple[Frontier, ...]
    problems: int
    report: Path


def frontier_run(run: Run, sweep: Sweep, source: Source, *, name: str, progress: Progress = silent) -> Swept | None:
    """Do what is left of a sweep, and write its results when all is done.

    The folder gets `frontier.parquet` (a row for each image, explainer, width and quantity), `summary.csv`, `trends.csv`, `status.csv`,
    `figure.png`, `figure.svg` and `report.html`.

    Args:
        run: The run folder.
        sweep: What to do.
        source: The images.
        name: What the reader calls the model.
        progress: Called as work goes on.

    Returns:
        The outcome in the first process, None in the others.

    Raises:
        EmptyBatchError: No image could be read and explained.
        DataError: The disk is full or the folder cannot be written.
    """
    with run.ranks.together():
        sweep_blocks(sweep, source, run, run.blocks, run.share(), progress)
    with run.ranks.together():
        if not run.ranks.first:
            return None
        counted = tally(run)
        if counted.first is None:
            raise EmptyBatchError(f"no image could be explained, so there is no frontier: {few(counted)}")
        table, status = (pl.concat(list(run.tables(one))) for one in ("frontier", "status"))
        found = frontiers_of(sweep, table, status, run.answers, name)
        if not run.over:
            run.merge("frontier", _TABLE)
            run.merge("status", _STATUS)
            run.put(_SUMMARY, pl.concat([one.summary for one in found]).write_csv())
            run.put(_TRENDS, pl.concat([one.trends for one in found]).write_csv())
            figures = {f"figure.{form}": to_bytes(lambda: plot_frontiers(found), form) for form in FIGURE}
            with run.writing():
                write_all(run.folder, figures)
            run.put(_REPORT, render_study(frontier_page(found, counted.problems)))
            run.finish([_TABLE, _SUMMARY, _TRENDS, _STATUS, *figures, _REPORT])
        return Swept(found, counted.troubled, run.folder / _REPORT)
