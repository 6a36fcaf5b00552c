"""The command line: `assay COMMAND`; every user's mistake is one line on standard error and exit code 2."""

from assay.cli.entry import main

__all__ = ["main"]
