"""The way in, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer
from rich.console import Console

from assay.cli.app import EVERYWHERE, app
from assay.cli.heap import keep_freed_memory
from assay.cli.told import MANNER, Manner
from assay.core.whole_files import printable
from assay.errors import AssayError, AssayWarning

__all__ = ["main"]

_INTERRUPTED = 130
_FULL = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "Storage size calculation overflowed",
    "integer multiplication overflow",
)
# The base of what Typer raises for wrong options; newer versions of Typer bring their own copy of Click, older ones do not.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]


def main() -> None:
    """Run the command line; a user's mistake ends with one line on standard error and exit code 2, Ctrl-C with 130."""
    keep_freed_memory()
    usual, manner = warnings.showwarning, MANNER.set(Manner())
    warnings.showwarning = lambda text, kind, *where: _note(str(text)) if issubclass(kind, AssayWarning) else usual(text, kind, *where)
    try:
        # Imported here, so that an interruption while torch loads ends with its message too.
        from assay.cli.commands import bench, compare, data, demo, doctor, listing, run, study, view  # noqa: F401
        from assay.cli.examples import add_examples
        from assay.cli.studies import STUDIES, add_studies

        words = _shared_first(sys.argv[1:])
        word = next((one for one in words if not one.startswith("-")), "")
        add_studies([word] if word != "run" else list(STUDIES))
        add_examples(app)
        code = app(words, standalone_mode=False) or 0
    except AssayError as error:
        _say(str(error))
        code = 2
    except _UsageError as error:
        code = _misused(error)
    except OSError as error:
        # Whatever a system call refuses is about the caller's files.
        _say(": ".join(str(one) for one in (error.filename, error.strerror or error) if one is not None))
        code = 2
    except (MemoryError, OverflowError, UnicodeEncodeError, RuntimeError) as error:
        said = _beyond(error)
        if not said:
            raise
        _say(said)
        code = 2
    except KeyboardInterrupt:
        code = _INTERRUPTED
    finally:
        warnings.showwarning = usual
        MANNER.reset(manner)
    if code == _INTERRUPTED:
        _say("interrupted")
    sys.exit(code)


def _shared_first(words: list[str]) -> list[str]:
    """Options of all commands may stand after the command too; what follows `--` stays as it is."""
    end = words.index("--") if "--" in words else len(words)
    shared = [one for one in words[:end] if one in EVERYWHERE]
    return [*shared, *(one for one in words[:end] if one not in EVERYWHERE), *words[end:]]


def _beyond(error: Exception) -> str:
    """What to say where what was asked for is larger than the machine, or a name is no text; nothing for any other error."""
    first = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object!r} is no text in UTF-8, which run folders and reports need; rename it"
    if isinstance(error, OverflowError):
        return f"a number is too large: {first}"
    if isinstance(error, MemoryError) or any(words in str(error) for words in _FULL):
        return f"memory ran out ({first or 'MemoryError'}); ask for less, such as fewer samples or a smaller --size"
    return ""


def _misused(error: Any) -> int:
    """Say what was wrong with the options; a command alone that needs some shows its help instead."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        _say(error.format_message() + hint)
    return 2


def _note(message: str) -> None:
    """A warning of Assay's own, without the line of code that gave it, which means nothing to a reader."""
    _say(message, "note")


def _say(message: str, head: str = "assay") -> None:
    """One line on standard error."""
    Console(stderr=True, highlight=False).print(f"{head}: {printable(' '.join(message.splitlines()))}", markup=False, soft_wrap=True)
