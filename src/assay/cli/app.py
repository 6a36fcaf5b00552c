"""The Typer application and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from assay.errors import AssayError

app = typer.Typer(
    name="assay",
    help="Which feature attributions of an image classifier can be trusted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; a user's mistake ends with one line on standard error and exit code 2, Ctrl-C with 130."""
    from assay.cli import commands  # noqa: F401  (registers the commands on `app`)

    try:
        app()
    except AssayError as error:
        Console(stderr=True, highlight=False).print(f"assay: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("assay: interrupted", markup=False)
        sys.exit(130)
