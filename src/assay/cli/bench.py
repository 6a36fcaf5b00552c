"""`assay bench`: cost against the model's own passes and against peers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.app import app
from assay.cli.progress import bar

if TYPE_CHECKING:
    from assay.bench.checks import Check
    from assay.bench.speed import Bench

__all__ = ["bench"]


@app.command()
def bench(
    out: Annotated[Path | None, typer.Option(help="JSON file to write.", show_default=False)] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of 32 x 32 images.")] = 16,
    repeats: Annotated[int, typer.Option(min=1, help="Times that everything is timed, in turn.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Time only this explainer or measure; may be given several times.")] = None,
    with_checks: Annotated[bool, typer.Option("--checks/--no-checks", help="Also check accuracy and memory.")] = True,
    seed: Annotated[int, typer.Option(help="Decides images and all randomness.")] = 0,
) -> None:
    """Time every explainer and measure on an untrained ResNet-18 with a CIFAR stem, beside Captum and Quantus where installed."""
    import torch

    from assay.bench.checks import checks
    from assay.bench.speed import bench as run
    from assay.bench.speed import resnet18
    from assay.core.environment import code, machine, packages
    from assay.core.files import replacing
    from assay.core.registry import nearest
    from assay.errors import SpecError
    from assay.study.audit.standard import EXPLAINERS, MEASURES

    known = {type(one).__name__: one for one in (*EXPLAINERS, *MEASURES)}
    for name in only or ():
        if name not in known:
            raise SpecError(f"there is nothing called {name} to time{nearest(name, known)} (known: {', '.join(known)})")
    wanted = set(only or known)
    images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    with bar() as progress:
        found = run(
            resnet18(seed=seed),
            images,
            [one for one in EXPLAINERS if type(one).__name__ in wanted],
            [one for one in MEASURES if type(one).__name__ in wanted],
            repeats,
            seed,
            progress,
        )
        judged = checks(seed=seed, progress=progress) if with_checks else []
    if out is not None:
        content = {
            "command": " ".join(
                ["assay bench", *(f"--only {name}" for name in only or ()), f"--count {count} --repeats {repeats} --seed {seed}"]
            ),
            "machine": machine(torch.device("cpu")),
            "code": code(),
            "packages": packages(),
            **asdict(found),
            "checks": [asdict(one) | {"met": one.met} for one in judged],
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as draft:
            draft.write_text(json.dumps(content, indent=2) + "\n")
    _tell(found, judged, out)


def _tell(found: Bench, judged: list[Check], out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(title="time over the passes' own, and peers' time over ours: median (lowest - highest)", title_justify="left")
    for heading in ("what", "precision"):
        table.add_column(heading, overflow="fold")
    for heading in ("passes", "of them back", "images/s", "x limit", "MiB", "faster than"):
        table.add_column(heading, justify="right", overflow="fold")
    for row in found.rows:
        peer = f"{row.peer} {row.faster.median:.2f} ({row.faster.low:.2f} - {row.faster.high:.2f})" if row.faster else ""
        limit = f"{row.to_limit.median:.2f} ({row.to_limit.low:.2f} - {row.to_limit.high:.2f})" if row.to_limit else "no passes"
        table.add_row(
            row.name, row.precision, str(row.forward), str(row.backward), f"{row.images_per_second:.1f}", limit, f"{row.peak:.0f}", peer
        )
    console.print(table)
    if judged:
        table = Table(title="checks on the shipped Hard Digits network", title_justify="left")
        for heading in ("what", "measured", "bound", "met", "how"):
            table.add_column(heading, overflow="fold")
        for one in judged:
            bound = f"{'>=' if one.at_least else '<='} {one.bound:.4g}"
            table.add_row(one.name, f"{one.value:.4g}", bound, "yes" if one.met else "NO", one.detail)
        console.print(table)
    if out is not None:
        console.print(f"figures: {out}", markup=False, soft_wrap=True)
