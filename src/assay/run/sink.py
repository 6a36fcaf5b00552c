"""Where a run's blocks go: a folder (`assay.run.folder`), or memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import polars as pl

__all__ = ["Memory", "Sink"]


class Sink(Protocol):
    """Keeps what blocks give, and gives tables back."""

    def write(
        self,
        block: int,
        tables: Mapping[str, pl.DataFrame],
        arrays: Mapping[str, np.ndarray] | None = None,
        files: Mapping[str, bytes] | None = None,
        passes: int = 0,
    ) -> None:
        """Keep a finished block."""

    def tables(self, name: str) -> Iterator[pl.DataFrame]:
        """The parts of a table, by block."""


class Memory:
    """Tables in memory, for work that needs no folder."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, pl.DataFrame]] = {}

    def write(
        self,
        block: int,
        tables: Mapping[str, pl.DataFrame],
        arrays: Mapping[str, np.ndarray] | None = None,
        files: Mapping[str, bytes] | None = None,
        passes: int = 0,
    ) -> None:
        """Keep a finished block's tables.

        Raises:
            TypeError: There are arrays or files too, which have no place in memory.
        """
        del passes  # Only a log tells it.
        if arrays or files:
            raise TypeError("arrays and files of a block need a run folder")
        for name, table in tables.items():
            self._parts.setdefault(name, {})[block] = table

    def tables(self, name: str) -> Iterator[pl.DataFrame]:
        """The parts of a table, by block."""
        return (part for _, part in sorted(self._parts.get(name, {}).items(), key=lambda item: item[0]))
