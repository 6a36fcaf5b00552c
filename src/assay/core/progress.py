"""How long work tells what it has done: one callable, so that the library never prints."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "counting", "silent"]

Progress = Callable[[str, int, int], None]
"""Called with (stage, units done, units in all) whenever a stage moves on; work on images counts this process's images."""


def counting(progress: Progress, stage: str, before: int, total: int) -> Callable[[int], None]:
    """Tells `progress` of work that has done some units since there were `before`."""
    return lambda done: progress(stage, before + done, total)


def silent(stage: str, done: int, total: int) -> None:
    """Say nothing."""
