"""The images of the DiET study, held in memory as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.data import Batch, Dataset, batches, choose
from assay.errors import DataError

__all__ = ["Part", "chosen", "parts_of", "read_part"]

_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Part:
    """Images with all that is known of them.

    Attributes:
        images: (N, 3, H, W) uint8.
        labels: (N,) int64.
        truth: (N, 1, H, W) bool, or None.
        distractor: (N, 1, H, W) bool, or None.
        index: (N,) their numbers within the split.
        unread: Names of the files that could not be read.
    """

    images: Tensor
    labels: Tensor
    truth: Tensor | None
    distractor: Tensor | None
    index: Tensor
    unread: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, chosen: slice | Tensor) -> Part:
        """Some of the images."""
        truth, distractor = (None if masks is None else masks[chosen] for masks in (self.truth, self.distractor))
        return Part(self.images[chosen], self.labels[chosen], truth, distractor, self.index[chosen], self.unread)

    def blocks(self, size: int = _BLOCK) -> Iterator[Part]:
        """The images in blocks, in order."""
        return (self.rows(slice(start, start + size)) for start in range(0, len(self), size))

    @property
    def pixels(self) -> Tensor:
        """The images as float32 in [0, 1]."""
        return self.images.float() / 255


def parts_of(dataset: Dataset) -> Iterator[Part]:
    """A whole data set, some images at a time."""
    return (part for part in map(_bytes, batches(dataset, 4 * _BLOCK)) if len(part))


def chosen(dataset: Dataset, count: int, seed: int) -> list[int]:
    """The numbers of `count` images, chosen by the seed; of all where there are fewer. Fewer are the beginning of more."""
    return choose(dataset, min(count, len(dataset)), seed)


def read_part(dataset: Dataset, indices: list[int]) -> Part:
    """Read some images of a data set; files that cannot be read are left out and named.

    Raises:
        DataError: No image can be read.
    """
    read = list(map(_bytes, batches(dataset, 4 * _BLOCK, indices)))
    unread = tuple(name for part in read for name in part.unread)
    read = [part for part in read if len(part)]
    if not read:
        raise DataError(f"no image of {dataset.name} {dataset.split} can be read")
    return Part(
        images=torch.cat([part.images for part in read]),
        labels=torch.cat([part.labels for part in read]),
        truth=_joined([part.truth for part in read]),
        distractor=_joined([part.distractor for part in read]),
        index=torch.cat([part.index for part in read]),
        unread=unread,
    )


def _bytes(batch: Batch) -> Part:
    labels = batch.labels if batch.labels is not None else torch.empty(0, dtype=torch.int64)
    images = (batch.images * 255).round().to(torch.uint8)
    return Part(images, labels, batch.truth, batch.distractor, batch.index, tuple(error.name for error in batch.errors))


def _joined(masks: list[Tensor | None]) -> Tensor | None:
    known = [mask for mask in masks if mask is not None]
    return torch.cat(known) if known and len(known) == len(masks) else None
