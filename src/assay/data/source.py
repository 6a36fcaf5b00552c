"""Where a run's images come from: by position among the chosen ones, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor

from assay.core.progress import Progress, silent
from assay.data.base import Batch, Corrupt, Dataset
from assay.data.files.encoded import Encoded
from assay.data.reader import read_blocks
from assay.errors import DataError

__all__ = ["Held", "Selection", "Source", "positions_of"]

_READ = 64
"""Images that are read together at most."""
_BROKEN = "a pixel is NaN or infinite"


class Source(Protocol):
    """Chosen images of a data set."""

    @property
    def indices(self) -> Sequence[int]:
        """The images' numbers within the data set, all different."""

    def read(self, blocks: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """One batch for each block of positions in `indices`, in order; what cannot be read is in its `errors`, in order."""


@dataclass(frozen=True)
class Selection:
    """Chosen images of a data set, read when they are asked for.

    Args:
        dataset: The data set.
        indices: The images' numbers within it.
        workers: Processes that read ahead; by default none where reading takes seconds.
        labelled: Whether labels say what an image shows as a whole.
    """

    dataset: Dataset
    indices: Sequence[int]
    workers: int | None = None
    labelled: bool = True

    def blocks(self, size: int = _READ) -> list[range]:
        """Positions in `indices`, in even blocks of at most `size`."""
        many = len(self.indices)
        step = math.ceil(many / math.ceil(many / size))
        return [range(start, min(start + step, many)) for start in range(0, many, step)]

    def read(self, blocks: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """One batch per block of positions, in order, read ahead; see `assay.data.reader.read_blocks`."""
        found = read_blocks(self.dataset, map(self._numbers, blocks), self.workers)
        return found if self.labelled else (replace(one, labels=None) for one in found)

    def _numbers(self, block: Sequence[int]) -> Sequence[int]:
        if isinstance(block, range) and block.step == 1:
            return self.indices[block.start : block.stop]  # A range of a range takes no memory.
        return [self.indices[at] for at in block]

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of the first image that can be read.

        Raises:
            DataError: There is none.
        """
        for number in self.indices:
            try:
                return tuple(self.dataset[number].image.shape)
            except DataError as error:
                problem = error
        raise problem

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the images: files that are left out."""
        files = getattr(self.dataset, "dataset", self.dataset)  # Below what lies over them.
        skipped = files.skipped if isinstance(files, Encoded) else {}
        told = ", ".join(f"{many} {kind}" for kind, many in skipped.items())
        return (f"left out of {self.dataset.name}, being no images: {told}",) if told else ()

    def batches(self) -> Iterator[Batch]:
        """The images in full batches."""
        return self.read(self.blocks())

    @property
    def record(self) -> dict[str, Any]:
        """What the reproducibility record says of the data."""
        return self.describe()

    def describe(self, progress: Progress = silent) -> dict[str, Any]:
        """`record`, telling how far the hashing of the files is, which reads all of them once."""
        data = self.dataset
        return {
            "name": data.name,
            "spec": repr(data),
            "split": data.split,
            "images in all": len(data),
            "sha256": data.hashed(progress),
        }


@dataclass(frozen=True, eq=False)
class Held:
    """Images that are in memory already.

    Args:
        batch: All of them.
    """

    batch: Batch

    @cached_property
    def indices(self) -> Sequence[int]:
        """The images' numbers."""
        numbers: list[int] = self.batch.index.tolist()
        return numbers

    def read(self, blocks: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """Consecutive positions, less the images with pixels that are no numbers, which take no other with them."""
        for block in blocks:
            whole = self.batch
            fine = whole.images[block[0] : block[-1] + 1].flatten(1).isfinite().all(1).tolist()
            rows = [row for row, sound in zip(block, fine, strict=True) if sound]
            yield Batch(
                whole.images[rows],
                _cut(whole.labels, rows),
                _cut(whole.truth, rows),
                _cut(whole.distractor, rows),
                whole.index[rows],
                tuple(whole.names[row] for row in rows),
                tuple(Corrupt(whole.names[row], _BROKEN) for row, sound in zip(block, fine, strict=True) if not sound),
            )


def positions_of(source: Source, rows: range, batch: Batch) -> tuple[list[int], list[tuple[int, Corrupt]]]:
    """Positions of a batch's images, and of those that could not be read with what is wrong.

    Args:
        source: Where the batch is from.
        rows: The positions that were asked for.
        batch: What came.
    """
    asked = {int(source.indices[row]): row for row in rows}
    came = [asked.pop(number) for number in batch.index.tolist()]
    return came, list(zip(asked.values(), batch.errors, strict=True))


def _cut(part: Tensor | None, rows: list[int]) -> Tensor | None:
    return None if part is None else part[rows]
