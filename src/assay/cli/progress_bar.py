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
)
from rich.text import Text

from assay.cli.told import MANNER
from assay.core.progress import Progress as Report
from assay.core.progress import silent

__all__ = ["bar"]

_EVERY = 30.0
"""Seconds between lines where there is no terminal."""
_OVER = float("inf")
_SURE = 1.3
"""How far apart the speeds of a stage's two halves so far may be for the time left to be told."""


class Left:
    """How long the rest of a stage takes, told only where both halves of what is done went about as fast."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []

    def add(self, at: float, done: float) -> None:
        """Note how much was done at a time in seconds."""
        if not self._seen or done > self._seen[-1][1]:
            self._seen.append((at, done))

    def seconds(self, total: float) -> float | None:
        """Seconds left, or None where they are not known."""
        if len(self._seen) < 3:
            return None
        (began, first), (now, last) = self._seen[0], self._seen[-1]
        at, half = min(self._seen[1:-1], key=lambda one: abs(one[1] - (first + last) / 2))
        early, late = (half - first) / max(at - began, 1e-9), (last - half) / max(now - at, 1e-9)
        if max(early, late) > _SURE * min(early, late):
            return None
        return (total - last) * (now - began) / (last - first)


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
        _Remaining(),
    )
    with Progress(*columns, console=console) as shown:
        tasks: dict[str, TaskID] = {}
        left: dict[str, Left] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total)
            known = left.setdefault(stage, Left())
            known.add(time.monotonic(), done)
            shown.update(tasks[stage], completed=done, total=total, left=known.seconds(total))

        yield report


class _Rate(ProgressColumn):
    """Units per second, such as images."""

    def render(self, task: Task) -> Text:
        """The rate of the last half minute, or of the whole stage when it is over."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g}/s")


class _Remaining(ProgressColumn):
    """Time left, where it is known."""

    def render(self, task: Task) -> Text:
        """Minutes and seconds."""
        left = task.fields.get("left")
        return Text("" if left is None or task.finished else f"{left // 60:.0f}:{left % 60:02.0f} left")


def _lines(console: Console) -> Report:
    started: dict[str, float] = {}
    known: dict[str, Left] = {}
    told: dict[str, float] = {}

    def report(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        began = started.setdefault(stage, now)
        rest = known.setdefault(stage, Left())
        rest.add(now, done)
        if told.get(stage) == _OVER or (now - told.get(stage, began) < _EVERY and done < total):
            return
        told[stage] = now if done < total else _OVER
        spent = now - began
        rate = f" ({done / spent:.3g}/s)" if done and spent >= 1 else ""
        seconds = rest.seconds(total)
        left = f", about {seconds:.0f} s left" if seconds is not None and done < total else ""
        console.print(f"{stage}: {done} of {total}, {spent:.0f} s{rate}{left}", markup=False)

    return report
