"""`assay frontier`: what the robustness of smoothed explanations costs in faithfulness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.app import app
from assay.cli.progress import bar
from assay.cli.task import Task, with_task

if TYPE_CHECKING:
    from assay.study.frontier import Frontier
    from assay.study.frontier_run import Swept

__all__ = ["frontier"]


@app.command()
@with_task
def frontier(
    task: Task,
    explainer: Annotated[list[str], typer.Option(help="What is smoothed, such as Gradient; may be given several times.")],
    sigma: Annotated[
        list[float] | None,
        typer.Option(help="Width of a Gaussian kernel; may be given several times. 0, 0.01, 0.03 and 0.1 by default.", show_default=False),
    ] = None,
    kernel: Annotated[
        list[str] | None, typer.Option(help='In place of --sigma, such as "Uniform(radius=0.1)"; may be given several times.')
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Noisy copies at every width; by default the paper's rule, 10 per 0.01.", show_default=False)
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="Spec of a measure of faithfulness; may be given several times. Five by default.")
    ] = None,
    eps: Annotated[float | None, typer.Option(help="Radius of the ball, of pixels in [0, 1]; 8/255 for linf, 0.5 for l2.")] = None,
    norm: Annotated[Literal["linf", "l2", "l1"], typer.Option(help="Norm of the ball.")] = "linf",
    steps: Annotated[int, typer.Option(min=1, help="Steps of the attack.")] = 50,
    attack: Annotated[
        str | None, typer.Option(help='Spec of a whole attack, in place of the three options before; "none" for none.')
    ] = None,
    attacked: Annotated[
        int | None, typer.Option(min=2, help="Images that are attacked, evenly spread; all by default.", show_default=False)
    ] = None,
    compare: Annotated[str, typer.Option(help="Distance that maps are compared by under attack.")] = "TopK",
    draws: Annotated[int, typer.Option(min=1, help="Random changes of each image in the same ball.")] = 10,
    certified: Annotated[
        float | None, typer.Option(help="L2 radius of certificates for Gradient and Sparsified; none by default.", show_default=False)
    ] = None,
) -> None:
    """Smooth explainers by wider and wider kernels: robustness against faithfulness, notion by notion, in a run folder with a report."""
    from assay.attack.ball import ball
    from assay.attack.base import Attack
    from assay.attack.map_attack import MapAttack
    from assay.core.progress import silent
    from assay.core.ranks import join
    from assay.core.registry import build
    from assay.errors import SpecError
    from assay.measure.attacked import blind_like
    from assay.study.frontier_plan import FAITHFULNESS, plan_sweep
    from assay.study.frontier_run import frontier_run
    from assay.study.run import Run, check_folder

    with join(task.device) as ranks, bar() if ranks.first else nullcontext(silent) as progress:
        with ranks.together():
            radius = eps if eps is not None else {"linf": 8 / 255, "l2": 0.5, "l1": None}[norm]
            if radius is None:
                raise SpecError("--norm l1 has no usual radius; give --eps")
            hit: Attack | None = MapAttack(radius, norm, steps)
            if attack is not None:
                hit = None if attack == "none" else build(attack, Attack)
            if hit is not None and eps not in (None, hit.eps):
                raise SpecError(f"--attack brings its own radius, {hit.eps:g}; leave --eps {eps:g} out")
            chosen = task.inputs()
            model, images = task.network(), len(chosen.indices)
            sweep = plan_sweep(
                model,
                images,
                explainer,
                sigma,
                samples,
                task.seed,
                kernels=kernel,
                faithfulness=measure or FAITHFULNESS,
                attack=hit,
                otherwise=None if hit is None else blind_like(hit, steps),
                distance=compare,
                attacked=attacked,
                draws=draws,
                within=ball(norm, radius) if hit is None else None,
                certified=certified,
                targets=task.targets(model, chosen),
            )
            check_folder(task.out)
        data = ranks.once(lambda: chosen.describe(progress))  # Hashing reads all files.
        settings = task.settings(
            model,
            data,
            explainer=[repr(one) for one in sweep.explainers],
            kernel=[repr(one) for one in sweep.kernels if one is not None],
            samples=samples,
            measure=[repr(one) for one in sweep.faithfulness],
            eps=sweep.ball.eps,
            norm=norm if hit is None else hit.norm,
            steps=steps,
            attack="none" if hit is None else repr(hit),
            attacked=attacked,
            compare=repr(sweep.distance),
            draws=draws,
            certified=certified,
        )
        with Run.open(
            task.out,
            command="frontier",
            settings=settings,
            answers=lambda: sweep.record(data, chosen.indices),
            blocks=task.blocks(images),
            ranks=ranks,
        ) as run:
            found = frontier_run(run, sweep, chosen, name=task.model, progress=progress)
            over = run.over
    if found is not None:
        _tell(found, over)


def _tell(found: Swept, over: bool) -> None:
    from rich.console import Console

    from assay.report.text import plural

    console = Console(highlight=False)
    for one in found.frontiers:
        console.print(_table(one))
        for sentence in one.verdict:
            console.print(f"- {sentence}", markup=False)
    if found.problems:
        console.print(f"- {plural(found.problems, 'image')} had problems; the report and status.csv list them.", markup=False)
    console.print(f"report: {found.report}", markup=False, soft_wrap=True)
    if over:
        console.print("This run was finished before; nothing was left to do.")


def _table(found: Frontier) -> Any:
    """A column for each width, a line for each quantity."""
    from rich.table import Table

    rows = list(found.summary.iter_rows(named=True))
    quantities = list(dict.fromkeys(row["quantity"] for row in rows))
    table = Table(
        title=f"{found.explainer}: mean and 95 % interval; against width 0: + gains, = free, - costs, ? undecided", title_justify="left"
    )
    table.add_column("", overflow="fold")
    for width in dict.fromkeys(row["width"] for row in rows):
        table.add_column(f"{width:g}", justify="right", overflow="fold")
    for name in quantities:
        own = [row for row in rows if row["quantity"] == name]
        table.add_row(f"{name} {'↑' if own[0]['higher_is_better'] else '↓'}", *_cells(own))
    return table


def _cells(rows: Sequence[dict[str, Any]]) -> list[str]:
    from assay.report.text import number

    signs = {"gains": " +", "costs": " -", "free": " =", "undecided": " ?", "": ""}
    return [
        "n/a"
        if math.isnan(row["mean"])
        else f"{row['mean']:.3f}{signs[row['outcome']]}"
        + ("" if math.isnan(row["low"]) else f"\n{number(row['low'], 2)}-{number(row['high'], 2)}")
        for row in rows
    ]
