"""How the images of a run are cut into blocks, the unit that is computed, kept and resumed, and blocks into parts for several jobs."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from assay.errors import SpecError

__all__ = ["BLOCK", "ArrayPart", "BlockContent", "Blocks"]

BLOCK = 64
"""Images in a block at most, unless the user says otherwise: explainers' chunks are full and the maps take bounded memory."""
_FEW, _LEAST = 8, 8
"""Blocks that a run has at least, so that little is lost when it is killed; unless they would have fewer images than this."""


@dataclass(frozen=True)
class Blocks:
    """Consecutive positions among the chosen images, `size` in each block and what is left in the last.

    Args:
        images: Images in all.
        size: Images in a block.
        unit: What is counted where it is something else than images.
    """

    images: int
    size: int
    unit: str = "image"

    @classmethod
    def even(cls, images: int, most: int = BLOCK) -> Blocks:
        """As few blocks of at most `most` images as there can be, evened out so that the last is nearly as full as the others."""
        return cls(images, math.ceil(images / math.ceil(images / most)) if images else 1)

    @classmethod
    def usual(cls, images: int, least: int = _LEAST) -> Blocks:
        """The cut of a run whose user did not say: blocks of at most `BLOCK` images, and several of them also for few images.

        Args:
            images: Images in all.
            least: Images that a block has at least where there are more.
        """
        return cls.even(images, min(BLOCK, max(least, math.ceil(images / _FEW))))

    def __len__(self) -> int:
        return math.ceil(self.images / self.size)

    def rows(self, block: int) -> range:
        """The positions in a block."""
        return range(block * self.size, min((block + 1) * self.size, self.images))


@dataclass(frozen=True, eq=False)
class BlockContent:
    """What a finished block leaves.

    Args:
        tables: Rows of tables, by name.
        arrays: (images of the block, ...) of per-image arrays, which become `maps.zarr/NAME`.
        files: Other files, by path within the folder, that no other block writes.
        passes: Images that went through the model for it.
        rounded: Names of arrays that are rounded, and compress for it.
    """

    tables: Mapping[str, pl.DataFrame]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    passes: int = 0
    rounded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ArrayPart:
    """One of several parts of a run: every so-many-th block, done by a job that never meets the others, as in a scheduler's array.

    Args:
        number: From 1.
        count: How many parts there are.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise SpecError(f"a part is number 1 to N of N, such as 3/8, not {self.number}/{self.count}")

    @classmethod
    def read(cls, text: str, environment: Mapping[str, str] | None = None) -> ArrayPart:
        """The part that a text names: `3/8`, `auto` for that of a Slurm array, or `auto/8`, whose number the scheduler tells.

        Args:
            text: What to read.
            environment: Where the scheduler's variables are; those of this process when None.

        Raises:
            SpecError: It names none, or there is no scheduler.
        """
        found = re.fullmatch(r"(\d{1,9}|auto)(?:/(\d{1,9}))?", text.strip())
        if found is None or (found[1] != "auto" and found[2] is None):
            raise SpecError(f"--part is I/N, such as 3/8, or auto within a scheduler's array, not {text!r}")
        if found[1] != "auto":
            return cls(int(found[1]), int(found[2]))
        known = os.environ if environment is None else environment
        try:
            if "SLURM_ARRAY_TASK_ID" in known:
                first, step = int(known.get("SLURM_ARRAY_TASK_MIN", "0")), int(known.get("SLURM_ARRAY_TASK_STEP", "1"))
                place, count = (int(known["SLURM_ARRAY_TASK_ID"]) - first) // max(step, 1), known.get("SLURM_ARRAY_TASK_COUNT")
            else:
                place, count = int(known["JOB_COMPLETION_INDEX"]), None
            parts = int(found[2] or count or "")
        except KeyError as error:
            raise SpecError("--part auto needs SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX; give I/N, such as 3/8") from error
        except ValueError as error:
            raise SpecError("--part auto does not know how many parts there are; give auto/N, such as auto/8") from error
        return cls(place + 1, parts)

    @property
    def name(self) -> str:
        """In words."""
        return f"part {self.number} of {self.count}"

    @property
    def lock(self) -> str:
        """The file that its process locks, within the folder."""
        return f"lock-part-{self.number}-of-{self.count}"

    @property
    def log(self) -> str:
        """Its log, within the folder of logs."""
        return f"part-{self.number}-of-{self.count}.jsonl"

    def share(self, blocks: Sequence[int]) -> list[int]:
        """Its own among some numbers of blocks, the same whatever was done before."""
        return [block for block in blocks if block % self.count == self.number - 1]
