"""`assay audit`: explain, measure, judge and report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.app import app
from assay.cli.progress import bar
from assay.cli.task import Task, with_task

if TYPE_CHECKING:
    import polars as pl

    from assay.report import Sentence

__all__ = ["audit", "tell"]


@app.command()
@with_task
def audit(
    task: Task,
    explainer: Annotated[
        list[str] | None, typer.Option(help="Spec of an explainer; may be given several times. The paper's six by default.")
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="Spec of a measure; may be given several times. All that the data allow by default.")
    ] = None,
    preset: Annotated[
        Literal["default", "paper"], typer.Option(help="The six explainers at their best, or as the robustness paper ran them.")
    ] = "default",
    attack: Annotated[
        list[str] | None, typer.Option(help="Spec of an attack on the maps, such as MapAttack(eps=4/255); may be given several times.")
    ] = None,
    gallery: Annotated[int, typer.Option(min=1, help="Images shown in the report.")] = 8,
) -> None:
    """Audit explanations of a model: report.html, scores.parquet, summary.csv and status.csv, in a run folder that can be resumed."""
    from assay.attack.base import Attack
    from assay.core.progress import silent
    from assay.core.ranks import join
    from assay.core.registry import build
    from assay.errors import SpecError
    from assay.explain.base import Explainer
    from assay.measure.base import Measure
    from assay.run.folder import Run, check_folder
    from assay.study.audit.audit import EXPLAINERS, PAPER, plan
    from assay.study.audit.in_folder import audit_run

    with join(task.device) as ranks, bar() if ranks.first else nullcontext(silent) as progress:
        with ranks.together():
            if explainer and preset == "paper":
                raise SpecError("--preset paper brings its own explainers; give either it or --explainer")
            standard = PAPER if preset == "paper" else EXPLAINERS
            explainers = [build(spec, Explainer) for spec in explainer] if explainer else standard
            measures = [build(spec, Measure) for spec in measure] if measure else None
            chosen = task.inputs()
            model, images = task.network(), len(chosen.indices)
            attacks = [build(spec, Attack) for spec in attack or ()]
            work = plan(
                model,
                images,
                explainers,
                measures,
                task.seed,
                masks=chosen.dataset.mask_kinds,
                gallery=gallery,
                attacks=attacks,
                targets=task.targets(model, chosen),
            )
            check_folder(task.out)
        data = ranks.once(lambda: chosen.describe(progress))  # Hashing reads all files.
        settings = task.settings(
            model,
            data,
            explainer=[repr(one) for one in work.explainers],
            measure=[repr(one) for one in work.measures],
            attack=[repr(one) for one in attacks],
            gallery=gallery,
        )
        with Run.open(
            task.out,
            command="audit",
            settings=settings,
            answers=lambda: work.record(data, chosen.indices),
            blocks=task.blocks(images),
            ranks=ranks,
        ) as run:
            found = audit_run(run, work, chosen, name=task.model, classes=chosen.dataset.classes, progress=progress)
            over = run.over
    if found is not None:
        tell(found.summary, found.verdict, found.problems, found.report)
        if over:
            typer.echo("This run was finished before; nothing was left to do.")


def tell(summary: pl.DataFrame, verdict: Sequence[Sentence], problems: int, report: Path) -> None:
    """Print the summary table, the verdict and the report's place."""
    from rich.console import Console
    from rich.table import Table

    from assay.report.text import plural

    console = Console(highlight=False)
    table = Table(title="mean and 95 % interval; + better than the random map, - worse, = no better", title_justify="left")
    table.add_column("explainer", overflow="fold")
    rows = summary
    measures = rows["measure"].unique(maintain_order=True).to_list()
    for name in measures:
        up = rows.filter(rows["measure"] == name)["higher_is_better"][0]
        table.add_column(f"{name.partition('(')[0]} {'↑' if up else '↓'}", justify="right", overflow="fold")
    signs = {"better than random": " +", "worse than random": " -"}
    for explainer in rows["explainer"].unique(maintain_order=True):
        own = {row["measure"]: row for row in rows.filter(rows["explainer"] == explainer).iter_rows(named=True)}
        cells = [_interval(own[m], "", signs.get(own[m]["verdict"], " =" if own[m]["verdict"] else "")) for m in measures]
        table.add_row(explainer, *cells)
    floors = {row["measure"]: row for row in rows.iter_rows(named=True)}
    table.add_section()
    table.add_row("random map", *[_interval(floors[m], "floor_", "") for m in measures])
    console.print(table)
    for sentence in verdict:
        console.print(f"- {sentence.text}", markup=False)
    if problems:
        console.print(f"- {plural(problems, 'image')} had problems; the report and status.csv list them.", markup=False)
    console.print(f"report: {report}", markup=False, soft_wrap=True)


def _interval(row: Mapping[str, Any], prefix: str, sign: str) -> str:
    """A mean with its sign, and below it its interval, where there is one."""
    mean, low, high = row["floor" if prefix else "mean"], row[prefix + "low"], row[prefix + "high"]
    if math.isnan(mean):
        return "n/a"
    return f"{mean:.3f}{sign}" + ("" if math.isnan(low) else f"\n{low:.3f}-{high:.3f}")
