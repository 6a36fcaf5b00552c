"""`assay bench`: cost against the model's own passes and against peers; `assay bench verdict`: how often the verdict is right."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.app import app
from assay.cli.progress_bar import bar

if TYPE_CHECKING:
    from assay.bench.checks import Check
    from assay.bench.exam.exam import ExamCase, ExamLine
    from assay.bench.timings import Bench

__all__ = ["bench", "examine_verdict"]


benches = typer.Typer(invoke_without_command=True)
app.add_typer(benches, name="bench")


@benches.callback()
def bench(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.", show_default=False)] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="resnet18 (32 pixels), hard-digits (64), resnet50 or vit-tiny (224); may be given several times.", show_default="resnet18"
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 16,
    repeats: Annotated[int, typer.Option(min=1, help="Times that everything is timed, in turn.")] = 3,
    only: Annotated[
        list[str] | None, typer.Option(help="Time only this explainer or measure, and check nothing; may be given several times.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Markdown page in which the tables are put between the two marks of these networks.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides images and all randomness.")] = 0,
) -> None:
    """Time explainers and measures beside Captum, pytorch-grad-cam and Quantus, where these are installed.

    With hard-digits among the networks, what the faster ways cost in truth is checked on it too.

    `assay bench verdict` examines the verdict instead.
    """
    if context.invoked_subcommand is not None:
        return
    import torch

    from assay.bench.bench_markdown import bench_markdown, bench_marks
    from assay.bench.checks import checks
    from assay.bench.document import put
    from assay.bench.speed import NETWORKS, TIMED_EXPLAINERS, TIMED_MEASURES, time_all
    from assay.core.environment import code, machine, packages
    from assay.core.registry import nearest
    from assay.core.whole_files import replacing
    from assay.data import HardDigits, choose, read
    from assay.errors import SpecError

    known = {type(one).__name__: one for one in (*TIMED_EXPLAINERS, *TIMED_MEASURES)}
    for kind, names, those in (("to time", only or (), known), ("that is a network here", network or (), NETWORKS)):
        for name in names:
            if name not in those:
                raise SpecError(f"there is nothing {kind} called {name}{nearest(name, those)} (known: {', '.join(those)})")
    wanted = set(only or known)
    found = []
    with bar() as progress:
        for name in network or ("resnet18",):
            side, make = NETWORKS[name]
            # Pictures of things: noise has no superpixels at larger sizes.
            data = HardDigits(size=side)
            images = read(data, choose(data, count, seed)).images
            explainers = [one for one in TIMED_EXPLAINERS if type(one).__name__ in wanted]
            measures = [one for one in TIMED_MEASURES if type(one).__name__ in wanted]
            found.append(time_all(name, make(seed), images, explainers, measures, repeats, seed, progress))
        judged = checks(seed=seed, progress=progress) if not only and "hard-digits" in (network or ()) else []
    where = machine(torch.device("cpu"))
    asked = [*(f"--network {name}" for name in network or ()), *(f"--only {name}" for name in only or ())]
    command = " ".join(["assay bench", *asked, f"--count {count} --repeats {repeats} --seed {seed}"])
    if out is not None:
        content = {
            "command": command,
            "machine": where,
            "code": code(),
            "packages": packages(),
            "networks": list(map(asdict, found)),
            "checks": [asdict(one) | {"met": one.met} for one in judged],
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as draft:
            draft.write_text(json.dumps(content, indent=2) + "\n")
    if page is not None:
        put(page, bench_markdown(found, judged, command, where), bench_marks([one.network for one in found]))
    _tell(found, judged, out)


@benches.command("verdict")
def examine_verdict(
    scores: Annotated[Path, typer.Option(help="Folder that keeps the scores; pairs that it holds are not run again.")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write.", show_default=False)] = None,
    pair: Annotated[list[str] | None, typer.Option(help="Only this pair of model and data; may be given several times.")] = None,
    page: Annotated[
        Path | None, typer.Option(help="Markdown page in which the table is put between its two marks.", show_default=False)
    ] = None,
    half: Annotated[str, typer.Option(help="practice, aside (the cases kept back while rules are made) or all.")] = "all",
    seed: Annotated[int, typer.Option(help="Decides images and all randomness.")] = 0,
) -> None:
    """Examine the verdict on maps of which it is known beforehand whether they are to be trusted (docs/verdict.md)."""
    from assay.bench.document import put
    from assay.bench.exam.exam import HALVES, examined, judge, lines, sweep
    from assay.bench.exam.exam_markdown import EXAM_MARKS, exam_markdown
    from assay.bench.exam.pairs import PAIRS
    from assay.core.environment import code
    from assay.core.registry import nearest
    from assay.core.whole_files import replacing
    from assay.errors import SpecError

    known = {one.name: one for one in PAIRS}
    for name in pair or ():
        if name not in known:
            raise SpecError(f"there is no pair {name!r}{nearest(name, known)} (known: {', '.join(known)})")
    if half not in HALVES:
        raise SpecError(f"--half must be one of {', '.join(HALVES)}, not {half!r}")
    with bar() as progress:
        found, left_out = examined([known[name] for name in pair or known], scores, seed, progress)
        swept = sweep(found, seed, HALVES[half], progress)
    cases = [one for one in judge(found, seed) if HALVES[half] in (None, one.set_aside)]
    table = lines(cases)
    if page is not None:
        told = f"{'all cases' if half == 'all' else f'the half {half}'}, seed {seed}"
        put(page, exam_markdown(cases, swept, told, left_out), EXAM_MARKS)
    if out is not None:
        content = {"code": code(), "seed": seed, "half": half, "left out": left_out, "lines": list(map(asdict, table))}
        content |= {"every set of measures": list(map(asdict, swept))}
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as draft:
            draft.write_text(json.dumps(content | {"cases": list(map(asdict, cases))}, indent=1) + "\n")
    _examined(table, swept, cases, left_out)


def _examined(table: list[ExamLine], swept: list[ExamLine], cases: list[ExamCase], left_out: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from assay.bench.exam.exam_markdown import every_subset

    console = Console(highlight=False)
    shown = Table(title="cases of which the answer is known beforehand: shares trusted, with 95% intervals", title_justify="left")
    shown.add_column("measures", overflow="fold")
    for heading in ("images", "wrongly trusted", "of", "rightly trusted", "of"):
        shown.add_column(heading, justify="right", overflow="fold")
    for one in table:
        if one.wrong_of or one.right_of:
            wrong = f"{one.wrong.mean:.1%} (at most {one.wrong.high:.1%})"
            right = f"{one.right.mean:.0%} ({one.right.low:.0%} - {one.right.high:.0%})" if one.right_of else ""
            shown.add_row(one.subset, str(one.images), wrong, str(one.wrong_of), right, str(one.right_of))
    console.print(shown)
    head, rows = every_subset(swept)
    sets = Table(title="every set of these measures that the command accepts", title_justify="left")
    for heading in head:
        sets.add_column(heading, overflow="fold")
    for row in rows:
        sets.add_row(*row)
    console.print(sets)
    for case in cases:
        if case.trusted and not case.right:
            console.print(f"wrongly trusted: {case.candidate} on {case.pair}, {case.images} images, by {case.subset}", markup=False)
    for name, why in left_out.items():
        console.print(f"left out: {name}: {why}", markup=False, soft_wrap=True)


def _tell(found: list[Bench], judged: list[Check], out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from assay.bench.bench_markdown import peer_columns

    console = Console(highlight=False)
    for one in found:
        console.print(f"{one.network}, {one.pixels[0]} pixels: processor time over the passes' own, and that of peers over ours; medians")
        table = Table(box=None, pad_edge=False)
        table.add_column("what", no_wrap=True)
        short = {("default", "float32"): "defaults", ("best", "float32"): "best", ("best", "bfloat16"): "best, 16 bits"}
        for heading in ("bits", "passes", "back", "x limit", *(short[key] for key in peer_columns(one).values())):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in one.rows:
            limit = f"{row.to_limit.cpu.median:.2f}" if row.to_limit else ""
            gains = {(gain.settings, gain.precision): gain for gain in row.gains}
            theirs = [f"{gains[key].faster.cpu.median:.2f}" if key in gains else "" for key in peer_columns(one).values()]
            bits = "16" if row.precision == "bfloat16" else "32"
            table.add_row(row.name, bits, str(row.forward), str(row.backward), limit, *theirs)
        console.print(table)
        for name, why in one.left_out.items():
            console.print(f"left out: {name}: {why}", markup=False, soft_wrap=True)
    if judged:
        table = Table(title="checks on the shipped Hard Digits network", title_justify="left")
        for heading in ("what", "measured", "bound", "met", "how"):
            table.add_column(heading, overflow="fold")
        for check in judged:
            bound = f"{'>=' if check.at_least else '<='} {check.bound:.4g}"
            table.add_row(check.name, f"{check.value:.4g}", bound, "yes" if check.met else "NO", check.detail)
        console.print(table)
    if out is not None:
        console.print(f"figures: {out}", markup=False, soft_wrap=True)
