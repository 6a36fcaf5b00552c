"""What keeps a run's blocks: memory, where the work needs no folder (`assay.run.folder`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from assay.core.ranks import Ranks
from assay.run.blocks import BlockContent, Blocks

__all__ = ["Memory"]


@dataclass(eq=False)
class Memory:
    """Tables in memory, for work that needs no folder.

    Attributes:
        blocks: How the images are cut; none for work by steps.
        record: Gives the seven reproducibility answers; asked when the work is done, which the model is known better by.
    """

    blocks: Blocks = Blocks(0, 1)
    record: Callable[[], Mapping[str, Any]] = dict
    folder: ClassVar[Path | None] = None
    ranks: ClassVar[Ranks] = Ranks()
    _parts: dict[str, dict[int, pl.DataFrame]] = field(default_factory=dict, init=False)

    @cached_property
    def answers(self) -> Mapping[str, Any]:
        """The seven reproducibility answers."""
        return self.record()

    def share(self) -> list[int]:
        """All blocks."""
        return list(range(len(self.blocks)))

    def write(self, block: int, content: BlockContent) -> None:
        """Keep a finished block's tables.

        Raises:
            TypeError: There are arrays or files too, which have no place in memory.
        """
        if content.arrays or content.files:
            raise TypeError("arrays and files of a block need a run folder")
        for name, table in content.tables.items():
            self._parts.setdefault(name, {})[block] = table

    def tables(self, name: str) -> Iterator[pl.DataFrame]:
        """The parts of a table, by block."""
        return (part for _, part in sorted(self._parts.get(name, {}).items(), key=lambda item: item[0]))
