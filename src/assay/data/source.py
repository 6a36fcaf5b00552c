"""Where a run's images come from: by position among the chosen ones, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import Tensor

from assay.data.base import Batch, Corrupt

__all__ = ["Held", "Source", "placed"]

_BROKEN = "a pixel is NaN or infinite"


class Source(Protocol):
    """Chosen images of a data set."""

    @property
    def indices(self) -> Sequence[int]:
        """The images' numbers within the data set, all different."""

    def read(self, blocks: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """One batch for each block of positions in `indices`, in order; what cannot be read is in its `errors`, in order."""


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


def placed(source: Source, rows: range, batch: Batch) -> tuple[list[int], list[tuple[int, Corrupt]]]:
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
