"""The Typer application that every command's module registers itself on, and what all commands share."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import Annotated, Literal

import typer

from assay.cli.told import MANNER

__all__ = ["EVERYWHERE", "app"]

EVERYWHERE = frozenset({"--quiet", "-q", "--json", "--intervals", "--tex", "--md"})
"""Options of `assay` itself that may stand after the command too."""

app = typer.Typer(
    name="assay",
    help="Which feature attributions of an image classifier can be trusted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples:\n\nassay demo\n\nassay audit --model resnet-cifar10 --images cifar10 --count 50 --out audit/",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"assay {version('assay')}")
        raise typer.Exit


@app.callback()
def shared(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say the verdict in a line and where the results are; no progress.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Say what was found as one JSON object on standard output.")] = False,
    intervals: Annotated[bool, typer.Option("--intervals", help="Show 95% intervals in tables, beside the means.")] = False,
    tex: Annotated[bool, typer.Option("--tex", help="Print tables as LaTeX.")] = False,
    md: Annotated[bool, typer.Option("--md", help="Print tables as Markdown.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")] = False,
) -> None:
    """Which feature attributions of an image classifier can be trusted."""
    del version
    own = MANNER.get()
    # A command that calls another, as `run resume` does, keeps its manner.
    tables: Literal["text", "tex", "md"] = "tex" if tex else "md" if md else own.tables
    MANNER.set(replace(own, quiet=own.quiet or quiet, json=own.json or json, intervals=own.intervals or intervals, tables=tables))
