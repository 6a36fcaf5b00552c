"""`plant`: a known signal or a known distractor in any data set, with the ground truth kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from assay.core.noise import derive, uniform
from assay.core.progress import Progress
from assay.core.registry import check_choice, register
from assay.data.base import Batch, Dataset, Item, collate
from assay.data.over import OverDataset
from assay.data.truth.plant_marks import Mark
from assay.errors import DataError, SpecError

__all__ = ["Planted", "plant"]

_VERSION = "planted 1"  # Part of the content hash; raise it when the pictures change.


@register
class Planted(OverDataset):
    """A data set whose images bear marks; `plant` makes one.

    With probability `correlation` an image bears the mark of its own class, otherwise that of a class drawn with equal
    chances from all: the share that bears its own is `correlation + (1 - correlation) / classes`, so at 1 the mark tells the
    class and at 0 it tells nothing. Which, where and with what noise depends on the seed and the image's number alone.

    Pixels belong to what lies on top: a signal is added to the truth that the data set knows (or is all of it) and hides its
    distractor, a distractor is added to the known distractor and hides the truth.

    Attributes:
        dataset: The images, with labels.
        mark: What is drawn.
        role: `"signal"` (its pixels are truth) or `"distractor"`.
        correlation: From 0 (independent of the label) to 1 (decides it).
        on: Classes whose mark is drawn, so that its presence tells the class; None for all.
        reversed: Whether an image bears, in place of its own class's mark, that of the next class.
        seed: Decides all of the above.

    Raises:
        SpecError: A parameter is out of range, or the marks of all classes look alike and all are drawn.
        DataError: The data set has no labels, or no class of a name in `on`.
    """

    dataset: Dataset
    mark: Mark
    role: str = "distractor"
    correlation: float = 1.0
    on: tuple[str, ...] | None = None
    reversed: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice(self, "role", ("signal", "distractor"))
        if not 0 <= self.correlation <= 1:
            raise SpecError(f"Planted: correlation must be from 0 to 1, not {self.correlation!r}")
        if not self.dataset.classes:
            raise DataError(f"{self.dataset.name} has no labels, which a mark could tell: put the images into one folder per class")
        if self.dataset.several:
            raise DataError(f"images of {self.dataset.name} have several labels, of which a mark could tell one: give one label for each")
        if self.on is None and not self.mark.tells_classes:
            raise SpecError(f"Planted: {self.mark!r} looks the same for all classes: say by on= which of them bear it")
        for name in self.on or ():
            if name not in self.dataset.classes:
                raise DataError(f"{self.dataset.name} has no class {name!r} for on= (its classes are {', '.join(self.dataset.classes)})")

    @property
    def name(self) -> str:
        """The data set's name and the role of the mark."""
        return f"{self.dataset.name}+{self.role}"

    @property
    def has_truth(self) -> bool:
        """Whether the truth is known: always with a signal."""
        return self.role == "signal" or self.dataset.has_truth

    @property
    def has_distractor(self) -> bool:
        """Whether a distractor is known: always with a planted one."""
        return self.role == "distractor" or self.dataset.has_distractor

    def __getitem__(self, index: int) -> Item:
        item = self.dataset[self.check_index(index)]
        batch = self._marked(collate([item]))
        known = [None if masks is None else masks[0] for masks in (batch.truth, batch.distractor)]
        return replace(item, image=batch.images[0], truth=known[0], distractor=known[1])

    def read(self, indices: Sequence[int]) -> Batch:
        """The items `indices`; see `Dataset.read`."""
        batch = self.dataset.read(indices)
        return self._marked(batch) if len(batch) else batch

    def hashed(self, progress: Progress) -> str:
        """`content_hash`; tells how far the data set's own has come."""
        settings = f"{_VERSION} {self.mark!r} {self.role} {float(self.correlation)} {self.on} {self.reversed} {self.seed}"
        return hashlib.sha256(f"{settings} {self.dataset.hashed(progress)}".encode()).hexdigest()

    def kinds(self, labels: Tensor, index: Tensor) -> Tensor:
        """The class (N,) whose mark each image is to bear, given its label (N,) and number (N,)."""
        count = len(self.classes)
        drawn = uniform(derive(self.seed, self.role), "planted class", index, torch.zeros_like(index), (2,))
        other = (drawn[:, 1] * count).long().clamp(max=count - 1)
        own = (labels + self.reversed) % count
        return torch.where(drawn[:, 0] < self.correlation, own, other)

    def _marked(self, batch: Batch) -> Batch:
        if batch.labels is None or bool((batch.labels < 0).any()):
            raise DataError(f"some images of {self.dataset.name} have no label, which a mark could tell: {batch.names[0]} or one near it")
        kinds = self.kinds(batch.labels, batch.index)
        seed = derive(self.seed, self.role)
        images, mask = self.mark.draw(batch.images, kinds, len(self.classes), batch.index, seed)
        if self.on is not None:
            bears = torch.isin(kinds, torch.tensor([self.classes.index(name) for name in self.on]))[:, None, None, None]
            images, mask = torch.where(bears, images, batch.images), mask & bears
        if self.role == "signal":
            return replace(batch, images=images, truth=_over(batch.truth, mask), distractor=_under(batch.distractor, mask))
        return replace(batch, images=images, truth=_under(batch.truth, mask), distractor=_over(batch.distractor, mask))


def plant(
    dataset: Dataset,
    *,
    signal: Mark | None = None,
    distractor: Mark | None = None,
    correlation: float = 1.0,
    on: Sequence[str] | None = None,
    reversed: bool = False,
    seed: int = 0,
) -> Planted:
    """Plant a known signal or distractor into a data set and keep the ground truth.

    To plant both, plant twice.

    Args:
        dataset: Images with labels.
        signal: A mark that counts as evidence: its pixels become truth.
        distractor: A mark that counts as irrelevant: its pixels become distractor.
        correlation: How far the mark tells the label, from 0 (not at all) to 1 (always); see `Planted`.
        on: Names of the classes whose mark is drawn; None for all.
        reversed: Whether each class bears the mark of the next, for test sets that turn a learned shortcut around.
        seed: Decides places, noise and which images bear another class's mark.

    Raises:
        SpecError: Both or none of `signal` and `distractor` are given, or a parameter is out of range.
        DataError: The data set has no labels.
    """
    if (signal is None) == (distractor is None):
        raise SpecError("plant: give either signal= or distractor=; to plant both, plant twice")
    mark, role = (signal, "signal") if signal is not None else (distractor, "distractor")
    assert mark is not None
    return Planted(dataset, mark, role, correlation, None if on is None else tuple(on), reversed, seed)


def _over(known: Tensor | None, mask: Tensor) -> Tensor:
    return mask if known is None else known | mask


def _under(known: Tensor | None, mask: Tensor) -> Tensor | None:
    return None if known is None else known & ~mask
