"""A run's log of finished blocks: one file per process, one line per block, written when everything of the block is on the disk."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.core.whole_files import sync
from assay.stats.intervals import means

__all__ = ["FINISH", "Entry", "Pace", "append", "mend", "read_log"]

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
        rank: The process that did it; of a part its number less 1.
        passes: Images that went through the model for it, forward and backward.
    """

    block: int
    rows: int
    files: Mapping[str, str]
    seconds: float
    at: float
    start: int
    rank: int
    passes: int = 0


@dataclass(frozen=True)
class Pace:
    """How fast processes that work side by side have finished blocks.

    Attributes:
        images: Images per second of all of them.
        work: The same of passes; of images where passes are not known.
        each: Passes per image, 1 where they are not known.
        doubt: Relative half width of the 95% interval of the seconds that a pass takes; infinite for a single block.
    """

    images: float
    work: float
    each: float
    doubt: float

    @classmethod
    def of(cls, lines: Iterable[Entry]) -> Pace | None:
        """The pace of these lines' processes; None where there are no blocks."""
        own = [line for line in lines if line.block != FINISH and line.rows]
        if not own:
            return None
        counted = all(line.passes for line in own)
        work = [line.passes if counted else line.rows for line in own]
        rows, done, seconds = defaultdict[int, int](int), defaultdict[int, int](int), defaultdict[int, float](float)
        for line, passes in zip(own, work, strict=True):
            rows[line.rank] += line.rows
            done[line.rank] += passes
            seconds[line.rank] += max(line.seconds, 1e-9)
        images, speed = (sum(many[rank] / seconds[rank] for rank in rows) for many in (rows, done))
        cost = means([[line.seconds / passes] for line, passes in zip(own, work, strict=True)])[0]
        doubt = (cost.high - cost.low) / 2 / cost.mean if len(own) > 1 and cost.mean > 0 else float("inf")
        return cls(images, speed, sum(work) / sum(line.rows for line in own), doubt)

    def left(self, images: int) -> float:
        """Seconds that so many further images take."""
        return images * self.each / self.work


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
    for path in sorted([*folder.glob("rank-*.jsonl"), *folder.glob("part-*.jsonl")]):
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
