"""A run's log of finished blocks: one file per process, one line per block, written when everything of the block is on the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.core.files import sync

__all__ = ["FINISH", "Entry", "append", "mend", "read_log"]

FINISH = -1
"""The block number of the line that says that the results are written."""


@dataclass(frozen=True)
class Entry:
    """One finished block.

    Args:
        block: Its number; `FINISH` for the results.
        rows: Images in it.
        files: SHA-256 (hex) of every file of it, by path within the run folder.
        seconds: How long it took.
        at: When it was finished, in seconds since 1970.
        start: Number of the start, the first being 0.
        rank: The process that did it.
    """

    block: int
    rows: int
    files: Mapping[str, str]
    seconds: float
    at: float
    start: int
    rank: int


def append(path: Path, line: Entry) -> None:
    """Add a line, and wait until it is on the disk."""
    new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(line)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync(path.parent)


def mend(path: Path) -> None:
    """Cut off a last line that a killed process left unfinished, so that the next begins on its own."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def read_log(folder: Path, damaged: list[str] | None = None) -> Iterator[Entry]:
    """All lines of all processes.

    Args:
        folder: Where the logs are.
        damaged: Gets a word on each line that cannot be read, unfinished last ones excepted; such lines are passed over, so that
            their blocks are done again.
    """
    for path in sorted(folder.glob("rank-*.jsonl")):
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if not text.endswith(b"\n"):
                    continue
                try:
                    line = _line(json.loads(text))
                except (ValueError, TypeError):
                    if damaged is not None:
                        damaged.append(f"{path.name}, line {number}")
                else:
                    yield line


def _line(found: Any) -> Entry:
    line = Entry(**found)
    if not isinstance(line.block, int) or not isinstance(line.rows, int) or not isinstance(line.files, dict):
        raise TypeError("not a line of a log")
    return line
