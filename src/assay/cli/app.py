"""The Typer application that every command's module registers itself on."""

from __future__ import annotations

import typer

__all__ = ["app"]

app = typer.Typer(
    name="assay",
    help="Which feature attributions of an image classifier can be trusted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
