"""What is where in a run folder, for whoever only looks; what stands there may be damaged, or a stranger's."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.errors import DataError
from assay.run.log import Entry, read_log

__all__ = [
    "ENVIRONMENT",
    "LOCK",
    "LOGS",
    "SETTINGS",
    "UNREAD",
    "entries",
    "finished_blocks",
    "is_file",
    "part",
    "read_environment",
    "read_starts",
]

SETTINGS, ENVIRONMENT, LOGS = "run.toml", "environment.json", "log"
LOCK = "lock"
UNREAD = "cannot be read: "
"""What the status of an image begins with whose file is damaged."""


def finished_blocks(folder: Path) -> set[int]:
    """Numbers of the blocks in a run's log whose files are all there; `FINISH` among them when the results are.

    Raises:
        DataError: The log cannot be read.
    """
    return {line.block for line in entries(folder) if all(is_file(folder / name) for name in line.files)}


def entries(folder: Path, damaged: list[str] | None = None) -> Iterator[Entry]:
    """The lines of a run's log that can be meant: their files are within the folder, all numbers numbers.

    Args:
        folder: The run folder.
        damaged: Gets a word on each other line, which is passed over.

    Raises:
        DataError: The log cannot be read.
    """
    unread: list[str] = [] if damaged is None else damaged
    home = folder.resolve()
    try:
        for line in read_log(folder / LOGS, unread):
            numbers = all(isinstance(one, int | float) for one in (line.seconds, line.at, line.start, line.rank, line.passes))
            if numbers and all(_is_inside(home, name) and isinstance(digest, str) for name, digest in line.files.items()):
                yield line
            else:
                unread.append(f"the line of block {line.block}")
    except (OSError, RecursionError) as error:
        raise DataError(f"cannot read the log of {folder}: {getattr(error, 'strerror', None) or error}") from error


def read_environment(folder: Path) -> dict[str, Any]:
    """A run's `environment.json`: the seven answers, and what is known of its starts.

    Raises:
        DataError: It cannot be read, or is no such thing.
    """
    path = folder / ENVIRONMENT
    try:
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "there is no such file")
        found = json.loads(path.read_text(encoding="utf-8"))
        if (
            not isinstance(found, dict)
            or not isinstance(found["starts"], list)
            or not all(isinstance(one, dict) for one in found["starts"])
        ):
            raise TypeError("starts must be a list of tables")
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return found


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """What is known of a run's starts; see `read_environment`."""
    starts: list[dict[str, Any]] = read_environment(folder)["starts"]
    return starts


def is_file(path: Path) -> bool:
    """Whether there is such a regular file, whatever the path."""
    try:
        return path.is_file()
    except OSError:
        return False


def part(table: str, block: int) -> str:
    """Where a block's rows of a table are, within the folder."""
    return f"parts/{table}/{block:06d}.parquet"


def _is_inside(home: Path, name: str) -> bool:
    """Whether a name of a log is that of a file below the folder, which no link leads out of."""
    try:
        return not Path(name).is_absolute() and (home / name).resolve().is_relative_to(home)
    except (OSError, ValueError, RuntimeError):
        return False
