"""`assay run`: how far runs are, going on with them, checking and comparing them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.app import app
from assay.cli.told import Told, tell
from assay.core.whole_files import printable

if TYPE_CHECKING:
    from assay.stats.intervals import Interval

__all__ = ["check_harmless", "runs"]

runs = typer.Typer(help="Look at, go on with, check and compare the folders of runs.", no_args_is_help=True)
app.add_typer(runs, name="run")

Folder = Annotated[Path, typer.Argument(help="The folder of a run, which was its --out.", show_default=False)]


@runs.command("status")
def tell_status(folder: Folder) -> None:
    """Tell how far a run is, how fast it goes, and how long the rest takes."""
    from assay.run.status import status as look

    found = look(folder)
    state = "finished" if found.over else "going on" if found.running else "interrupted; go on with `assay run resume`"
    typer.echo(printable(f"assay {found.command}, version {found.version}: {state}"))
    if found.blocks.images:
        typer.echo(f"{found.images} of {found.blocks.images} {found.blocks.unit}s, {found.done} of {len(found.blocks)} blocks are done")
    if found.states:
        typer.echo(printable(f"states kept: {', '.join(found.states)}"))
    if found.parts:
        typer.echo(f"at work: {', '.join(found.parts)}")
    if found.pace is not None and not found.over:
        left = "how long the rest takes is not known within 30% yet" if found.left is None else f"about {_time(found.left)} left"
        typer.echo(f"{found.pace.images:.3g} {found.blocks.unit}s/s in the last start; {left}")
    typer.echo(f"{found.starts} start{'' if found.starts == 1 else 's'}")


Trust = Annotated[bool, typer.Option("--trust", help="The folder may name Python code to import and the directory to work in.")]


@runs.command()
def resume(folder: Folder, trust: Trust = False) -> None:
    """Go on with an interrupted run, with the settings that it was begun with; also under torchrun.

    What a run folder says is done as it stands only with --trust: importing a `python:` factory, working in the directory that it was
    begun in, and going on with another user's folder.
    """
    _again(folder, trust)


@runs.command()
def merge(folder: Folder, trust: Trust = False) -> None:
    """Put a run together whose parts (--part) are done: merge their tables and write the results; refused while blocks are missing.

    See `assay run resume` for --trust.
    """
    _again(folder, trust, "--part", "merge")


def _again(folder: Path, trust: bool, *words: str) -> None:
    """Give the command of a run again, with the settings that it was begun with and some words more."""
    from assay.errors import AssayError, DataError
    from assay.run.paths import ENVIRONMENT
    from assay.run.status import first_start, read_document

    document = read_document(folder)
    # A kill before the first start was written down, or while an ended training cleans up, leaves no environment.
    home = Path(first_start(folder)["directory"]) if (folder / ENVIRONMENT).exists() else Path.cwd()
    out, settings = folder.resolve(), document["settings"]
    names = document["command"].split()
    command: Any = typer.main.get_command(app)
    for name in names:
        command = getattr(command, "commands", {}).get(name)
    if command is None or not any(param.name == "out" for param in command.params):
        raise DataError(f"{folder} is a run of assay {document['command']}, which this version does not have")
    if words and not any(param.name == "part" for param in command.params):
        raise DataError(f"{folder} is a run of assay {document['command']}, which has no parts; go on with it by `assay run resume`")
    if not trust:
        check_harmless(folder, settings)
    elif home.is_dir():
        os.chdir(home)  # Relative paths and factories of models are meant from there.
    try:
        app([*names, *_words(command.params, settings), *words, "--out", str(out)], standalone_mode=False)
    except AssayError as error:
        if trust or home == Path.cwd():
            raise
        raise type(error)(f"{error} (the run was begun in {home}; go there, or give --trust)") from error


def check_harmless(folder: Path, settings: Mapping[str, Any]) -> None:
    """See that going on would import no code that the folder names, and that the folder is the caller's own.

    Raises:
        DataError: It would, or the folder is another user's.
    """
    from assay.errors import DataError

    code = next(
        (one for part in (settings.get("imports"), settings) for one in _texts(part) if part is not settings or "python:" in one), None
    )
    if code is not None:
        raise DataError(f"{folder} says to import code, {code}: look at that code, then give --trust, or give the command itself again")
    for path in (folder, folder / "run.toml"):
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            raise DataError(f"{path} is another user's: look at its settings, then give --trust, or give the command itself again")


def _texts(value: Any) -> Iterator[str]:
    """All texts in plain settings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for one in [*value.values()] if isinstance(value, Mapping) else value:
            yield from _texts(one)


@runs.command("verify")
def tell_verified(folder: Folder) -> None:
    """Read everything that a run has written again and hold it against its log; exit code 1 when something is wrong."""
    from assay.run.status import status as look
    from assay.run.status import verify as check

    found = look(folder)
    wrong = list(check(folder))
    for one in wrong:
        typer.echo(printable(f"wrong: {one}"))
    whole = "the run is finished" if found.over else f"{found.done} of {len(found.blocks)} blocks are done"
    typer.echo(f"{len(wrong)} things are wrong; {whole}" if wrong else f"all files and rows are as they were written; {whole}")
    if wrong:
        raise typer.Exit(1)


@runs.command("compare")
def tell_compared(first: Folder, second: Folder) -> None:
    """Put two runs side by side: settings, means, and paired differences with 95% intervals on the images that both have."""
    from assay.comparison.runs import compare_runs as put
    from assay.study.study import TerminalTable

    found = put(first, second)
    same = ["identical: every file of results is the same, bit by bit"] if found.identical else []
    asked = [f"{name}: {one} in the first, {other} in the second" for name, one, other in found.settings]
    rows = tuple(
        (
            printable(line.explainer),
            printable(line.measure),
            str(line.images),
            *map(_interval, (line.first, line.second, line.difference)),
        )
        for line in found.lines
    )
    head = ("explainer", "measure", "images", "first", "second", "difference")
    grids = (
        ()
        if found.identical
        else (
            TerminalTable(
                "Means less the random map's, where there is one; the difference is second less first, image by image", head, rows, 2
            ),
        )
    )
    tell(Told((), grids, tuple(map(printable, (*same, *asked, *found.wrong, *found.alone)))))


@runs.command(name="card")
def file_card(
    folder: Folder,
    form: Annotated[Literal["md", "json", "html"], typer.Option("--format", help="Markdown, JSON, or one HTML page.")] = "md",
    headings: Annotated[
        Literal["plain", "annex-iv"],
        typer.Option(help="Plain headings, or those of the EU AI Act's Annex IV under which parts may be filed."),
    ] = "plain",
    out: Annotated[Path | None, typer.Option(help="File to write; standard output by default.", show_default=False)] = None,
) -> None:
    """Print the card of a finished run: purpose, model and data with hashes, results with intervals, limits, how to verify."""
    from assay.core.whole_files import replacing
    from assay.run.run_card import card

    found = card(folder, headings)
    text = {"md": found.markdown, "json": found.json, "html": found.html}[form]()
    if out is None:
        typer.echo(text, nl=False)
        return
    with replacing(out) as draft:
        draft.write_text(text, encoding="utf-8")
    typer.echo(f"card: {out}")


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
    return f"{found.mean:.4g} ({found.low:.4g} to {found.high:.4g})"


def _time(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"
