"""`Mosaic`: truth without annotation, from images that a model is sure of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from assay.core.noise import uniform
from assay.core.progress import Progress
from assay.core.registry import check_at_least
from assay.data.base import Dataset, Item, batches
from assay.data.over import OverDataset
from assay.errors import DataError, SpecError

__all__ = ["Mosaic"]

_VERSION = "mosaic 1"  # Part of the content hash; raise it when the pictures change.
_BATCH = 128


class _Model(Protocol):
    """What is asked of the model; a Classifier is one."""

    @property
    def classes(self) -> Sequence[str]: ...
    def logits(self, images: Tensor) -> Tensor: ...
    def choose(self, logits: Tensor) -> Tensor: ...
    def score(self, logits: Tensor, targets: Tensor, output: Literal["probability"]) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Mosaic(OverDataset):
    """Grids of images of different classes that the model is sure of; truth is the cell of the class that is asked for.

    Every image that the model puts into its class with at least `confidence` is the target of one mosaic, whose other cells are
    such images of other classes, drawn at random. Where labels number the model's classes (as many of them), they must agree with
    the model. The model has to take images of the mosaic's size, `rows` times the height and `columns` times the width; its
    evidence for the target's class is in the target's cell as far as it looks at cells one by one, as networks that end in global
    pooling nearly do. A mosaic holds a model, so that its `repr` is no spec.

    Attributes:
        dataset: The images; all are run through the model once, when the mosaic is made.
        rows: Cells from top to bottom.
        columns: Cells from left to right.
        model: The model, a Classifier.
        confidence: Least probability of the predicted class.
        count: How many mosaics at most; None for as many as there are such images.
        seed: Decides cells and neighbours, together with the mosaic's number.

    Raises:
        SpecError: A parameter is out of range.
        DataError: The model is sure of images of fewer classes than there are cells.

    Source: Rao, Bohle, Schiele 2022 (grid pointing game).
    """

    dataset: Dataset
    rows: int = 2
    columns: int = 2
    _: KW_ONLY
    model: _Model = field(repr=False)
    confidence: float = 0.99
    count: int | None = None
    seed: int = 0
    _places: tuple[int, ...] = field(init=False, repr=False)
    _kinds: tuple[int, ...] = field(init=False, repr=False)
    _classes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_at_least(self, 1, "rows", "columns", "count")
        if self.rows * self.columns < 2:
            raise SpecError("Mosaic: rows x columns must be at least 2 cells")
        if not 0 <= self.confidence <= 1:
            raise SpecError(f"Mosaic: confidence must be a probability, not {self.confidence!r}")
        if self.dataset.several:
            raise SpecError(f"Mosaic: images of {self.dataset.name} have several labels, where a cell must show one class")
        places: list[int] = []
        kinds: list[int] = []
        numbered = False
        for batch in batches(self.dataset, _BATCH):
            if not len(batch):
                continue
            logits = self.model.logits(batch.images)
            ids = self.model.choose(logits)
            sure = self.model.score(logits, ids, "probability") >= self.confidence
            numbered = len(self.dataset.classes) == logits.shape[1]
            if numbered and batch.labels is not None:
                own = batch.labels.to(ids.device)
                sure &= (own < 0) | (ids == own)
            places += batch.index[sure.cpu()].tolist()
            kinds += ids[sure].tolist()
        if len(set(kinds)) < self.rows * self.columns:
            raise DataError(
                f"a mosaic of {self.rows} x {self.columns} needs images of as many classes that the model is sure of, but of "
                f"{self.dataset.name} {self.dataset.split} it puts {len(places)} images of {len(set(kinds))} classes right with a "
                f"probability of {self.confidence:g}; lower confidence=, take fewer cells or more images"
            )
        object.__setattr__(self, "_places", tuple(places))
        object.__setattr__(self, "_kinds", tuple(kinds))
        object.__setattr__(self, "_classes", tuple(self.dataset.classes if numbered else self.model.classes))

    @property
    def name(self) -> str:
        """The data set's name and the grid."""
        return f"{self.dataset.name} mosaic {self.rows}x{self.columns}"

    @property
    def classes(self) -> tuple[str, ...]:
        """The data set's classes where they number the model's, else the model's."""
        return self._classes

    @property
    def has_truth(self) -> bool:
        """Always: the target's cell."""
        return True

    @property
    def has_distractor(self) -> bool:
        """Never: cells are laid side by side, and what lay in one of them is not told."""
        return False

    def __len__(self) -> int:
        return len(self._places) if self.count is None else min(self.count, len(self._places))

    def tiles(self, index: int) -> tuple[list[int], int]:
        """The items of the data set in mosaic `index`, cell by cell in reading order, and the target's cell."""
        cells, target = self.rows * self.columns, self._kinds[index]
        members: dict[int, list[int]] = {}
        for place, kind in zip(self._places, self._kinds, strict=True):
            members.setdefault(kind, []).append(place)
        others = sorted(members.keys() - {target})
        numbers = uniform(self.seed, "mosaic", torch.tensor([index]), torch.tensor([0]), (len(others) + cells,))[0]
        picked = [others[at] for at in numbers[: len(others)].argsort(stable=True)[: cells - 1].tolist()]
        draws = numbers[len(others) :].tolist()
        found = [members[kind][int(draw * len(members[kind]))] for kind, draw in zip(picked, draws, strict=False)]
        cell = int(draws[-1] * cells)
        return [*found[:cell], self._places[index], *found[cell:]], cell

    def target(self, index: int) -> int:
        """The model's class of the target of mosaic `index`."""
        return self._kinds[index]

    def __getitem__(self, index: int) -> Item:
        index = self.check_index(index)
        places, cell = self.tiles(index)
        items = [self.dataset[place] for place in places]
        bands = [torch.cat([item.image for item in items[at : at + self.columns]], 2) for at in range(0, len(items), self.columns)]
        image = torch.cat(bands, 1)
        (height, width), (row, column) = items[0].image.shape[1:], divmod(cell, self.columns)
        truth = torch.zeros(1, *image.shape[1:], dtype=torch.bool)
        truth[:, row * height : (row + 1) * height, column * width : (column + 1) * width] = True
        return Item(image, self._kinds[index], index, f"{items[cell].name} in cell {cell}", truth)

    def hashed(self, progress: Progress) -> str:
        """SHA-256 of the data set's own hash, of which images the model is sure of, and of the settings; see `OverDataset.hashed`."""
        settings = f"{_VERSION} {self.rows} {self.columns} {len(self)} {self.seed} {self._places} {self._kinds}"
        return hashlib.sha256(f"{settings} {self.dataset.hashed(progress)}".encode()).hexdigest()
