"""`assay doctor`: what is installed, what the machine is good for, where data are, and whether a known answer comes out."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.progress_bar import bar
from assay.cli.tasks import options
from assay.cli.told import Told, tell

__all__ = ["doctor"]


@app.command()
def doctor(
    device: options.Device = None,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Also see, in some 20 s, that known answers come out.")] = True,
) -> None:
    """Tell versions, device, the precision that pays, where data lie, and test this installation; exit code 1 where a test fails."""
    from assay.bench.doctor import examine, self_test
    from assay.report import Sentence
    from assay.study.study import TerminalTable

    with bar() as progress:
        parts = examine(device)
        checks = self_test(device, progress) if test else ()
    failed = [one.name for one in checks if not one.passed]
    if failed:
        sentence = Sentence("bad", f"This installation gives wrong answers: {', '.join(failed)}.")
    elif checks:
        sentence = Sentence("good", f"All is well: {len(checks)} of {len(checks)} known answers came out.")
    else:
        sentence = Sentence("note", "Nothing was tested.")
    grids = [TerminalTable(title, ("what", "found"), tuple(rows.items())) for title, rows in parts.items()]
    if checks:
        rows = tuple((one.name, "passed" if one.passed else "FAILED", one.told) for one in checks)
        grids.append(TerminalTable("Self-test", ("test", "outcome", "measured"), rows))
    tell(Told((sentence,), grids))
    if failed:
        raise typer.Exit(1)
