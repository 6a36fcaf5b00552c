"""A progress bar behind the library's progress callable; in a log file, a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from assay.cli.told import MANNER
from assay.core.progress import Progress as Report
from assay.core.progress import silent

__all__ = ["bar"]

_EVERY = 30.0
"""Seconds between lines where there is no terminal."""
_OVER = float("inf")


@contextmanager
def bar() -> Iterator[Report]:
    """Show images (or other units) done, how many a second, time used and time left of each stage, on standard error."""
    console = Console(stderr=True)
    if MANNER.get().quiet:
        yield silent
        return
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as shown:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total)
            shown.update(tasks[stage], completed=done, total=total)

        yield report


class _Rate(ProgressColumn):
    """Units per second, such as images."""

    def render(self, task: Task) -> Text:
        """The rate of the last half minute, or of the whole stage when it is over."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g}/s")


def _lines(console: Console) -> Report:
    started: dict[str, float] = {}
    told: dict[str, float] = {}

    def report(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        began = started.setdefault(stage, now)
        if told.get(stage) == _OVER or (now - told.get(stage, began) < _EVERY and done < total):
            return
        told[stage] = now if done < total else _OVER
        spent = now - began
        rate = f" ({done / spent:.3g}/s)" if done and spent >= 1 else ""
        left = f", about {spent / done * (total - done):.0f} s left" if 0 < done < total else ""
        console.print(f"{stage}: {done} of {total}, {spent:.0f} s{rate}{left}", markup=False)

    return report
