"""`assay run`: how far runs are, going on with them, checking and comparing them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.app import app

if TYPE_CHECKING:
    from assay.study.statistics import Interval

__all__ = ["run"]

run = typer.Typer(help="Look at, go on with, check and compare the folders of runs.", no_args_is_help=True)
app.add_typer(run, name="run")

Folder = Annotated[Path, typer.Argument(help="The folder of a run, which was its --out.", show_default=False)]


@run.command()
def status(folder: Folder) -> None:
    """Tell how far a run is, how fast it goes, and how long the rest takes."""
    from assay.study.run_status import status as look

    found = look(folder)
    state = "finished" if found.over else "going on" if found.running else "interrupted; go on with `assay run resume`"
    typer.echo(f"assay {found.command}, version {found.version}: {state}")
    if found.blocks.images:
        typer.echo(f"{found.images} of {found.blocks.images} {found.blocks.unit}s, {found.done} of {len(found.blocks)} blocks are done")
    if found.states:
        typer.echo(f"states kept: {', '.join(found.states)}")
    if found.rate is not None and not found.over:
        typer.echo(f"{found.rate:.3g} {found.blocks.unit}s/s in the last start; {_time(found.left or 0.0)} left at this rate")
    typer.echo(f"{found.starts} start{'' if found.starts == 1 else 's'}")


@run.command()
def resume(folder: Folder) -> None:
    """Go on with an interrupted run, with the settings and from the directory that it was begun with; also under torchrun."""
    from assay.errors import DataError
    from assay.study.run_status import first_start, read_document

    document, home = read_document(folder), Path(first_start(folder)["directory"])
    out = folder.resolve()
    if home.is_dir():
        os.chdir(home)  # Relative paths and factories of models are meant from there.
    names = document["command"].split()
    command: Any = typer.main.get_command(app)
    for name in names:
        command = getattr(command, "commands", {}).get(name)
    if command is None:
        raise DataError(f"{folder} is a run of assay {document['command']}, which this version does not have")
    app([*names, *_words(command.params, document["settings"]), "--out", str(out)], standalone_mode=False)


@run.command()
def verify(folder: Folder) -> None:
    """Read everything that a run has written again and hold it against its log; exit code 1 when something is wrong."""
    from assay.study.run_status import status as look
    from assay.study.run_status import verify as check

    found = look(folder)
    wrong = list(check(folder))
    for one in wrong:
        typer.echo(f"wrong: {one}")
    whole = "the run is finished" if found.over else f"{found.done} of {len(found.blocks)} blocks are done"
    typer.echo(f"{len(wrong)} things are wrong; {whole}" if wrong else f"all files and rows are as they were written; {whole}")
    if wrong:
        raise typer.Exit(1)


@run.command()
def compare(first: Folder, second: Folder, seed: Annotated[int, typer.Option(help="Decides the bootstrap's resamples.")] = 0) -> None:
    """Put two runs side by side: settings, means, and paired differences with 95 % intervals on the images that both have."""
    from rich.console import Console
    from rich.table import Table

    from assay.study.compare import compare as put

    found = put(first, second, seed)
    console = Console(highlight=False)
    if found.identical:
        console.print("identical: every file of results is the same, bit by bit")
    for name, one, other in found.settings:
        console.print(f"{name}: {one} in the first, {other} in the second", markup=False, soft_wrap=True)
    for told in found.alone:
        console.print(told, markup=False, soft_wrap=True)
    if found.identical:
        return
    table = Table(title="mean and 95 % interval; the difference is second less first, image by image", title_justify="left")
    for name in ("explainer", "measure", "images", "first", "second", "difference"):
        table.add_column(name, justify="left" if name in ("explainer", "measure") else "right", overflow="fold")
    for line in found.lines:
        cells = [_interval(one) for one in (line.first, line.second, line.difference)]
        table.add_row(line.explainer, line.measure, str(line.images), *cells)
    console.print(table)


def _words(params: list[Any], settings: Mapping[str, Any]) -> list[str]:
    """The options of a command that a run's settings name, as words of the command line."""
    words: list[str] = []
    for param in params:
        value = settings.get(param.name)
        if value is None or param.name == "out":
            continue
        if isinstance(value, bool):
            words += [param.opts[0]] if value else param.secondary_opts[:1]
        else:
            for one in value if isinstance(value, list) else [value]:
                words += [param.opts[0], str(one)]
    return words


def _interval(found: Interval) -> str:
    return f"{found.mean:.4g}\n{found.low:.4g} to {found.high:.4g}"


def _time(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"
