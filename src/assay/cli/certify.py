"""`assay certify`: how far maps can be moved at most, against how far an attack moves them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.app import app
from assay.cli.progress import bar
from assay.cli.task import Task, with_task

if TYPE_CHECKING:
    from assay.study.certified import Certified

__all__ = ["certify"]

_ATTACK = "MapAttack(eps=0, norm='l2', steps=20, goal=MaximiseDistance(distance=Cosine()))"


@app.command()
@with_task
def certify(
    task: Task,
    smoothing: Annotated[
        str,
        typer.Option(
            help='"SmoothGrad(sigma=0.25, samples=200)" with --output probability, or "Smoothed(Sparsified(...), Gaussian(0.25), 1000)".'
        ),
    ],
    eps: Annotated[list[float], typer.Option(help="L2 radius, of pixels in [0, 1]; may be given several times.")],
    confidence: Annotated[float, typer.Option(help="Of each image's bounds.")] = 0.99,
    samples: Annotated[int | None, typer.Option(help="Passes per image for a gradient's certificate; 1000.", show_default=False)] = None,
    attack: Annotated[str, typer.Option(help="Spec of an attack to compare with, its eps replaced, or none.")] = _ATTACK,
) -> None:
    """Bound how far smoothed explanations can be moved, with proof, and attack them: tables and a figure in a run folder."""
    from assay.attack.base import Attack
    from assay.core.progress import silent
    from assay.core.ranks import join
    from assay.core.registry import build
    from assay.explain.base import Explainer
    from assay.study.certified import Certifying, certified_run
    from assay.study.run import Run, check_folder

    with join(task.device) as ranks, bar() if ranks.first else nullcontext(silent) as progress:
        with ranks.together():
            chosen_attack = None if attack == "none" else build(attack, Attack)
            explainer = build(smoothing, Explainer)
            chosen = task.inputs()
            model, images = task.network(), len(chosen.indices)
            plan = Certifying(
                model, explainer, tuple(sorted(set(eps))), confidence, samples, chosen_attack, task.seed, task.targets(model, chosen)
            )
            check_folder(task.out)
        data = ranks.once(lambda: chosen.describe(progress))  # Hashing reads all files.
        settings = task.settings(
            model,
            data,
            smoothing=repr(explainer),
            eps=list(plan.eps),
            confidence=confidence,
            samples=samples,
            attack="none" if chosen_attack is None else repr(chosen_attack),
        )
        with Run.open(
            task.out,
            command="certify",
            settings=settings,
            answers=lambda: plan.record(data, chosen.indices),
            blocks=task.blocks(images),
            ranks=ranks,
        ) as run:
            found = certified_run(run, plan, chosen, progress=progress)
            over = run.over
    if found is not None:
        _tell(found, over)


def _tell(found: Certified, over: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from assay.report.text import plural

    console = Console(highlight=False)
    table = Table(title="certified and attacked: means; a bound that says nothing counts as 0", title_justify="left")
    shown = [name for name in ("cosine", "seen", "overlap", "attacked_cosine", "attacked_overlap") if found.summary[name].is_finite().any()]
    for heading in ("eps", "certified", *(name.replace("_", " ") for name in shown), "copies needed (images)"):
        table.add_column(heading, justify="right", overflow="fold")
    for row in found.summary.iter_rows(named=True):
        table.add_row(
            f"{row['eps']:g}",
            f"{row['certified']:.1%}",
            *(f"{row[name]:.3f}" for name in shown),
            _needed(row["needed"], row["reachable"]),
        )
    console.print(table)
    if found.problems:
        console.print(f"- {plural(found.problems, 'image')} had problems; status.csv lists them.", markup=False)
    console.print(f"figure: {found.figure}", markup=False, soft_wrap=True)
    if over:
        console.print("This run was finished before; nothing was left to do.")


def _needed(median: float, share: float) -> str:
    """How many copies would certify something, and of how many images."""
    return f"{median:.0f} ({share:.0%})" if share else "none would do"
