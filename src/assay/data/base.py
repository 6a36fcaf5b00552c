"""What a data set is, and the functions that read one: by indices, in batches, at random, or whole."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from assay.core.display import Shown
from assay.core.noise import derive
from assay.core.progress import Progress, silent
from assay.core.whole_files import printable
from assay.errors import DataError

__all__ = ["Batch", "Corrupt", "CorruptFileError", "Dataset", "Item", "batches", "choose", "read", "stack", "stack_known"]

_DRAWN = 2**20  # Words drawn at once: bounds the memory of a choice from any number of images.
_STACK_BATCH = 128  # Bounds the memory beside the result also for large images.


class CorruptFileError(DataError):
    """One file of a data set cannot be read as an image; the others may be fine."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"cannot read the image {name}: {message}; replace or remove the file")
        self.name = name
        self.message = message


class IndexRangeError(DataError, IndexError):
    """A data set has no item of that number (also an IndexError, so that `for item in dataset` ends)."""


@dataclass(frozen=True)
class Corrupt:
    """A file that could not be read: its name within the data set, and why."""

    name: str
    message: str


@dataclass(frozen=True, eq=False)
class Item:
    """One image with what is known of it.

    Attributes:
        image: (3, H, W) float32 in [0, 1].
        label: Class number; where an image may have several (`Dataset.several`) 1, 0 or -1 (not known) for each class; None when nobody
            knows.
        index: Number within the split.
        name: File name within the data set, or another short name.
        truth: (1, H, W) bool, the pixels that decide the label, or None when nobody knows.
        distractor: (1, H, W) bool, pixels known to be irrelevant but tempting, or None.
    """

    image: Tensor
    label: int | tuple[int, ...] | None
    index: int
    name: str
    truth: Tensor | None = None
    distractor: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Batch(Shown):
    """Several images; N counts those that could be read, `errors` lists the others.

    Attributes:
        images: (N, 3, H, W) float32 in [0, 1].
        labels: (N,) int64, -1 where nobody knows; where an image may have several (N, K) int64, 1, 0 or -1; None without any.
        truth: (N, 1, H, W) bool, or None.
        distractor: (N, 1, H, W) bool, or None.
        index: (N,) int64, numbers within the split.
        names: N names.
        errors: The files that were asked for and could not be read.
    """

    images: Tensor
    labels: Tensor | None
    truth: Tensor | None
    distractor: Tensor | None
    index: Tensor
    names: tuple[str, ...]
    errors: tuple[Corrupt, ...] = ()

    face: ClassVar[str] = "assay.report.faces:batch"

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.images.shape[1:]))
        known = [name for name in ("labels", "truth", "distractor") if getattr(self, name) is not None]
        lost = [f"{len(self.errors)} not read"] if self.errors else []
        return f"Batch({len(self)} images of {size}{', with ' + ', '.join(known) if known else ''}{', ' + lost[0] if lost else ''})"

    def __len__(self) -> int:
        return len(self.names)

    def item(self, at: int) -> Item:
        """Image `at` with what is known of it."""
        classes = self.label_of(at)
        several = self.labels is not None and self.labels.ndim > 1
        return Item(
            self.images[at],
            classes if several else next(iter(classes), None),
            int(self.index[at]),
            self.names[at],
            None if self.truth is None else self.truth[at],
            None if self.distractor is None else self.distractor[at],
        )

    def label_of(self, at: int) -> tuple[int, ...]:
        """The classes of image `at`: one, several, or none where nobody knows or none is there."""
        if self.labels is None:
            return ()
        own = self.labels[at]
        if own.ndim:
            return tuple(own.gt(0).nonzero()[:, 0].tolist())
        return (int(own),) if own >= 0 else ()


class Dataset(ABC):
    """Images in a fixed order; subclasses are registered dataclasses, so that `repr` is a spec of the data."""

    @property
    @abstractmethod
    def split(self) -> str:
        """Name of the part, such as `"test"`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name for tables."""

    @property
    def several(self) -> bool:
        """Whether an image may have several labels, as findings that do not exclude each other."""
        return False

    @property
    def has_truth(self) -> bool:
        """Whether the items bring masks of the pixels that decide their labels."""
        return False

    @property
    def has_distractor(self) -> bool:
        """Whether the items bring masks of pixels known to be irrelevant but tempting."""
        return False

    @property
    def mask_kinds(self) -> frozenset[str]:
        """Which masks the items bring: "truth", "distractor"."""
        return frozenset(name for name, there in (("truth", self.has_truth), ("distractor", self.has_distractor)) if there)

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Class names by class number; empty when there are no labels."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Item:
        """Item `index`.

        Raises:
            IndexRangeError: There is no such item.
            CorruptFileError: Its file cannot be read.
        """

    @abstractmethod
    def content_hash(self) -> str:
        """SHA-256 (hex) of the content and settings that decide the items."""

    def hashed(self, progress: Progress) -> str:  # For what reads many files.
        """`content_hash`, telling (stage, done, in all) where that takes long."""
        return self.content_hash()

    def read(self, indices: Sequence[int]) -> Batch:
        """The items `indices`, with unreadable files left out and listed in `errors`; see `assay.data.read`."""
        items, errors = [], []
        for index in indices:
            try:
                items.append(self[index])
            except CorruptFileError as error:
                errors.append(Corrupt(printable(error.name), printable(error.message)))
        return collate(items, tuple(errors))

    def check_index(self, index: int) -> int:
        """`index` as an int.

        Raises:
            IndexRangeError: It is below 0 or not below the length.
        """
        number = operator.index(index)
        if not 0 <= number < len(self):
            raise IndexRangeError(f"{self.name} {self.split} has items 0 to {len(self) - 1}, not {number}")
        return number


def collate(items: Sequence[Item], errors: tuple[Corrupt, ...] = ()) -> Batch:
    """Put items of one size into a batch; without items the batch is empty and of size 0 x 0."""
    return Batch(
        images=torch.stack([item.image for item in items]) if items else torch.empty(0, 3, 0, 0),
        labels=_labels(items),
        truth=stack_known([item.truth for item in items]),
        distractor=stack_known([item.distractor for item in items]),
        index=torch.tensor([item.index for item in items], dtype=torch.int64),
        names=tuple(printable(item.name) for item in items),  # Tables and pages hold text, which a file's name need not be.
        errors=errors,
    )


def read(dataset: Dataset, indices: Iterable[int]) -> Batch:
    """Read the items `indices`, in that order; files that cannot be read are left out and listed in `errors`.

    Raises:
        IndexRangeError: There is no such item.
        DataError: The images have different sizes.
    """
    return dataset.read([dataset.check_index(int(index)) for index in indices])


def batches(dataset: Dataset, size: int, indices: Iterable[int] | None = None) -> Iterator[Batch]:
    """Read the items `indices` (default: all) `size` at a time, in constant memory; see `read`.

    Raises:
        DataError: `size` is below 1.
    """
    if size < 1:
        raise DataError(f"a batch must hold at least 1 image, not {size}")
    wanted: Sequence[int] = range(len(dataset)) if indices is None else list(indices)
    return (read(dataset, wanted[start : start + size]) for start in range(0, len(wanted), size))


def choose(dataset: Dataset, count: int, seed: int) -> list[int]:
    """Choose `count` different items at random; with the same seed, fewer are always the beginning of more.

    Raises:
        DataError: There are not that many items, or `count` is below 1.
    """
    if not 1 <= count <= len(dataset):
        raise DataError(f"cannot choose {count} of the {len(dataset)} items of {dataset.name} {dataset.split}: ask for 1 to {len(dataset)}")
    # The smallest raw words rather than Generator.permutation: only the raw stream is stable across numpy versions.
    stream = np.random.Philox(key=derive(seed, "choose"))
    words, chosen = np.empty(0, np.uint64), np.empty(0, np.int64)
    for start in range(0, len(dataset), _DRAWN):
        drawn = stream.random_raw(min(_DRAWN, len(dataset) - start))
        words = np.concatenate([words, drawn])
        chosen = np.concatenate([chosen, np.arange(start, start + len(drawn))])
        best = np.argsort(words, kind="stable")[:count]
        words, chosen = words[best], chosen[best]
    order: list[int] = chosen.tolist()
    return order


def stack(dataset: Dataset, progress: Progress = silent) -> tuple[Tensor, Tensor]:
    """Read the whole data set into memory, for training.

    Args:
        dataset: Labelled images of one size.
        progress: Told how many images have been read.

    Returns:
        Images (N, 3, H, W) uint8 and labels (N,) int64.

    Raises:
        DataError: There are no labels or no items, or files cannot be read (names the first and counts all).
    """
    if not dataset.classes or dataset.several:
        what = "several labels for an image, of which a training takes one" if dataset.several else "no labels"
        raise DataError(f"{dataset.name} has {what}: put the images into one folder per class")
    errors: list[Corrupt] = []
    images, labels = torch.empty(0, dtype=torch.uint8), torch.empty(len(dataset), dtype=torch.int64)
    done = 0
    for batch in batches(dataset, _STACK_BATCH):
        errors += batch.errors
        if not errors and batch.labels is not None:
            if not done:
                images = torch.empty(len(dataset), *batch.images.shape[1:], dtype=torch.uint8)
            end = done + len(batch)
            # All sources are 8-bit, so rounding gives their bytes back exactly.
            images[done:end] = batch.images.mul_(255).round_().to(torch.uint8)
            labels[done:end] = batch.labels
            if bool((batch.labels < 0).any()):
                lost = batch.names[int(batch.labels.argmin())]
                raise DataError(f"{lost} of {dataset.name} {dataset.split} has no label; leave it out or label it")
        done += len(batch) + len(batch.errors)
        progress(f"reading {dataset.name} {dataset.split}", done, len(dataset))
    if errors:
        first = errors[0]
        raise DataError(
            f"{len(errors)} of {len(dataset)} images of {dataset.name} {dataset.split} cannot be read; "
            f"the first is {first.name} ({first.message}); replace or remove them"
        )
    return images, labels


def _labels(items: Sequence[Item]) -> Tensor | None:
    """Labels of a batch; None where there are none."""
    known = next((item.label for item in items if item.label is not None), None)
    if known is None and items:
        return None
    unknown = (-1,) * len(known) if isinstance(known, tuple) else -1
    return torch.tensor([unknown if item.label is None else item.label for item in items], dtype=torch.int64)


def stack_known(masks: Sequence[Tensor | None]) -> Tensor | None:
    """Masks (1, H, W) as (N, 1, H, W), or None where one is not known."""
    known = [mask for mask in masks if mask is not None]
    return torch.stack(known) if known and len(known) == len(masks) else None
