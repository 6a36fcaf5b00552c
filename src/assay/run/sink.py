"""Where a run's blocks go: a folder (`assay.run.folder`), or memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import polars as pl

from assay.core.ranks import Ranks
from assay.run.blocks import Blocks

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


@dataclass(eq=False)
class Memory:
    """Tables in memory, for work that needs no folder.

    Attributes:
        blocks: How the images are cut; none for work by steps.
        answers: The seven reproducibility answers.
    """

    blocks: Blocks
    answers: Mapping[str, Any]
    folder: ClassVar[Path | None] = None
    ranks: ClassVar[Ranks] = Ranks()
    _parts: dict[str, dict[int, pl.DataFrame]] = field(default_factory=dict, init=False)

    def share(self) -> list[int]:
        """All blocks."""
        return list(range(len(self.blocks)))

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
