"""`assay explain`: maps as arrays and as pictures."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assay.cli.app import app
from assay.cli.progress import bar
from assay.cli.task import Task, with_task

if TYPE_CHECKING:
    from assay.study.explain import Explained

__all__ = ["explain"]

_SHOWN = 20


@app.command()
@with_task
def explain(
    task: Task,
    explainer: Annotated[list[str], typer.Option(help='Such as "SmoothGrad(sigma=0.05)"; may be given several times.')],
    maps: Annotated[
        Literal["npz", "zarr"], typer.Option(help="How maps are kept: a zarr folder of chunks alone, or one compressed npz file too.")
    ] = "npz",
    overlays: Annotated[bool, typer.Option(help="Draw each map over its image, as PNG.")] = True,
) -> None:
    """Explain images: maps, overlays as PNG, and what the model predicts as CSV, in a run folder that can be resumed."""
    from assay.core.progress import silent
    from assay.core.ranks import join
    from assay.core.registry import build
    from assay.explain.base import Explainer
    from assay.study.explain import Explaining, explain_run
    from assay.study.run import Run, check_folder

    with join(task.device) as ranks, bar() if ranks.first else nullcontext(silent) as progress:
        with ranks.together():
            chosen = task.inputs()
            explainers = [build(spec, Explainer) for spec in explainer]
            model = task.network()
            plan = Explaining(model, explainers, task.seed, maps, overlays, chosen.dataset.classes, task.targets(model, chosen))
            check_folder(task.out)
        data = ranks.once(lambda: chosen.describe(progress))  # Hashing reads all files.
        settings = task.settings(model, data, explainer=[repr(one) for one in explainers], maps=maps, overlays=overlays)
        with Run.open(
            task.out,
            command="explain",
            settings=settings,
            answers=lambda: plan.record(data, chosen.indices),
            blocks=task.blocks(len(chosen.indices)),
            ranks=ranks,
        ) as run:
            found = explain_run(run, plan, chosen, progress)
            over = run.over
    if found is not None:
        _tell(found, len(explainers), task, over)


def _tell(found: Explained, explainers: int, task: Task, over: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"{found.explained} images explained by {explainers} explainer{'s' if explainers > 1 else ''}", markup=False)
    for name, message in found.problems[:_SHOWN]:
        console.print(f"left out: {name}: {message}", markup=False, soft_wrap=True)
    if found.troubled > _SHOWN:
        console.print(f"and {found.troubled - _SHOWN} more, listed in status.csv", markup=False)
    console.print(f"maps, predictions.csv and environment.json: {task.out}", markup=False, soft_wrap=True)
    if over:
        console.print("This run was finished before; nothing was left to do.")
