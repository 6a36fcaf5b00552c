"""`assay attack`: how much of the maps is left when images are attacked."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assay.cli.app import app
from assay.cli.progress import bar
from assay.cli.task import Task, with_task

if TYPE_CHECKING:
    from assay.study.attack import Attacked

__all__ = ["attack"]


@app.command()
@with_task
def attack(
    task: Task,
    explainer: Annotated[list[str], typer.Option(help='Such as "SmoothGrad(sigma=0.1)"; may be given several times.')],
    eps: Annotated[float | None, typer.Option(help="Radius of the ball, of pixels in [0, 1]; 8/255 for linf, 0.5 for l2.")] = None,
    norm: Annotated[Literal["linf", "l2", "l1"], typer.Option(help="Norm of the ball.")] = "linf",
    steps: Annotated[int, typer.Option(min=1, help="Steps of the attack.")] = 50,
    goal: Annotated[
        str, typer.Option(help="What is wanted: PushOutTopK, MoveCentre, MaximiseDistance(distance=Cosine()), ...")
    ] = "PushOutTopK",
    compare: Annotated[str, typer.Option(help="Distance that maps are compared by.")] = "TopK",
    attack: Annotated[str | None, typer.Option(help="Spec of a whole attack, in place of the four options before.")] = None,
    gallery: Annotated[int, typer.Option(min=1, help="Images shown in the report.")] = 4,
) -> None:
    """Attack explanations, the prediction kept, with noise of the same size as the floor: tables, arrays and a report in a run folder."""
    from assay.attack.base import Attack
    from assay.attack.distances import Distance
    from assay.attack.goals import Goal
    from assay.attack.map_attack import MapAttack
    from assay.core.progress import silent
    from assay.core.ranks import join
    from assay.core.registry import build
    from assay.errors import SpecError
    from assay.explain.base import Explainer
    from assay.measure.attacked import blind_like
    from assay.study.attack import Attacking, attack_run
    from assay.study.run import Run, check_folder

    with join(task.device) as ranks, bar() if ranks.first else nullcontext(silent) as progress:
        with ranks.together():
            wanted = build(goal, Goal)
            radius = eps if eps is not None else {"linf": 8 / 255, "l2": 0.5, "l1": None}[norm]
            if radius is None:
                raise SpecError("--norm l1 has no usual radius; give --eps")
            chosen_attack = build(attack, Attack) if attack else MapAttack(radius, norm, steps, wanted)
            blind = blind_like(chosen_attack, steps)
            explainers = [build(spec, Explainer) for spec in explainer]
            distance = build(compare, Distance)
            chosen = task.inputs()
            model, images = task.network(), len(chosen.indices)
            plan = Attacking(
                model,
                explainers,
                chosen_attack,
                images,
                blind,
                distance,
                task.seed,
                gallery,
                chosen.dataset.classes,
                task.targets(model, chosen),
            )
            check_folder(task.out)
        data = ranks.once(lambda: chosen.describe(progress))  # Hashing reads all files.
        settings = task.settings(
            model,
            data,
            explainer=[repr(one) for one in explainers],
            attack=repr(chosen_attack),
            compare=repr(distance),
            steps=steps,
            gallery=gallery,
        )
        with Run.open(
            task.out,
            command="attack",
            settings=settings,
            answers=lambda: plan.record(data, chosen.indices),
            blocks=task.blocks(images),
            ranks=ranks,
        ) as run:
            found = attack_run(run, plan, chosen, name=task.model, progress=progress)
            over = run.over
    if found is not None:
        _tell(found, over)


def _tell(found: Attacked, over: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from assay.report.text import plural

    console = Console(highlight=False)
    table = Table(title="what is left of the maps: mean and 95 % interval", title_justify="left")
    for heading in ("explainer", "after noise", "after the attack", "fragile", "prediction kept"):
        table.add_column(heading, overflow="fold")
    for row in found.summary.iter_rows(named=True):
        cells = [f"{row[kind]:.3f}\n{row[f'{kind}_low']:.3f}-{row[f'{kind}_high']:.3f}" for kind in ("left_after_noise", "left")]
        table.add_row(row["explainer"], *cells, "yes" if row["fragile"] else "no", f"{row['kept']:.1%}")
    console.print(table)
    if found.problems:
        console.print(f"- {plural(found.problems, 'image')} had problems; the report and status.csv list them.", markup=False)
    console.print(f"report: {found.report}", markup=False, soft_wrap=True)
    if over:
        console.print("This run was finished before; nothing was left to do.")
