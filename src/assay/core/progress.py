"""How long work tells what it has done: one callable, so that the library never prints."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""Called with (stage, units done, units in all) whenever a stage moves on; work on images counts this process's images."""


def silent(stage: str, done: int, total: int) -> None:
    """Say nothing."""
