"""What a study is asked about: a model and images; and a block of these, read, on the model's device, and predicted once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from assay.core.inputs import check_images, check_index, check_masks, check_seed, sent
from assay.data.base import Batch, Corrupt
from assay.data.files.convert import as_batch
from assay.data.source import Held, Source, positions_of
from assay.errors import ModelError, ShapeError
from assay.explain.base import Explainer, check_model
from assay.measure.base import Measure
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.models.heads import HEADS, Head
from assay.models.labels import Labels, match
from assay.models.randomised import randomised
from assay.models.targeting import PREDICTED, Targeting, given_targets
from assay.models.targets import Decision, Targets, check_labels
from assay.run.paths import UNREAD
from assay.run.record import record
from assay.study.tally import OK

__all__ = ["Asked", "Block", "Twins"]

Twins = tuple[Classifier | None, Classifier | None]
"""A model with random weights in all layers, and in the last; None where it has no weights to put in order."""

_STATUS = {
    "image": pl.Int64,
    "name": pl.String,
    "status": pl.String,
    "label": pl.Int64,
    "predicted": pl.Int64,
    "right": pl.Boolean,
    "read": pl.Boolean,
}
_FINDINGS = {"findings": pl.Int64, "findings right": pl.Int64}
"""What is added where an image may have several labels: findings that labels tell, and of these how many the model has so."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What a study is about.

    Attributes:
        model: The model.
        source: The images.
        seed: Decides all randomness, together with the images' numbers.
        name: What the reader calls the model.
        data: The data set's name, hash and split, for the record.
        classes: Names of the labels' classes; none when labels are the model's own class numbers.
        targets: What is explained of each image.
        masks: Which masks the images bring: "truth", "distractor".
        facts: What else is known beforehand, for a report.
        several: Whether an image may have several labels, as findings that do not exclude each other.
        mixed: Whether each image shows several classes on purpose, so that a model that is unsure of one is not to blame.
        chosen: Why the model computes in the precision that it does, where that was found out (`assay.study.precision_choice`).
    """

    model: Classifier
    source: Source
    seed: int = 0
    name: str = "the model"
    data: Mapping[str, Any] = field(default_factory=dict)
    classes: Sequence[str] = ()
    targets: Targeting = PREDICTED
    masks: Set[str] = frozenset()
    facts: Mapping[str, str] = field(default_factory=dict)
    several: bool = False
    mixed: bool = False
    chosen: str = ""
    _twins: dict[tuple[int, ...], Twins] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def given(
        cls,
        model: Classifier,
        images: Any,
        targets: Targets | None = None,
        seed: int = 0,
        index: Tensor | None = None,
        names: Sequence[str] | None = None,
        kind: type | None = None,
    ) -> Asked:
        """Images that a caller gives, checked.

        Args:
            model: The model.
            images: (N, C, H, W), pixels in [0, 1], NaN and infinity being said in the status; or what `assay.data.as_batch` takes, whose
                pictures are prepared as `model.reading` says.
            targets: (N,) class ids, or what else is explained; None for the predicted classes.
            seed: Decides all randomness, together with `index`.
            index: (N,) the images' global numbers, all different; None for a data set's own, else 0..N-1.
            names: The images' names; None for a data set's own.
            kind: What the caller gave, where `images` were taken out of it.

        Raises:
            AssayError: One is wrong; the message names it.
        """
        check_model(model)
        seed, kind = check_seed(seed), kind or type(images)
        name = f"images given as {'a tensor' if issubclass(kind, Tensor) else kind.__name__}"
        if not isinstance(images, Tensor):
            held = as_batch(images, model.reading)
            images, index, names = held.images, held.index if index is None else index, held.names if names is None else names
        images = check_images(images, broken=True)
        count = len(images)
        numbers = check_index(index, count, images.device)
        if len(numbers.unique()) < count:
            raise ShapeError("index gives two images the same number; each needs its own")
        if names is not None and len(names) != count:
            raise ShapeError(f"names holds {len(names)} names for {count} images; give one for each")
        called = tuple(names) if names is not None else tuple(f"image {number}" for number in range(count))
        data, aims = {"name": name}, given_targets(targets, model, images)
        return cls(model, Held(Batch(images, None, None, None, numbers, called)), seed, model.name, data, targets=aims)

    def beside(
        self, labels: Tensor | None = None, truth: Tensor | None = None, distractor: Tensor | None = None, classes: Sequence[str] = ()
    ) -> Asked:
        """The same, of images in memory, with labels (N,) or (N, K) and masks (N, 1, H, W) checked and put beside them.

        Args:
            labels: True classes, by the model's numbers, or by those of `classes`; -1 where nobody knows.
            truth: Masks of the known evidence.
            distractor: Masks of what must not matter.
            classes: Names of the labels' classes, which are matched with the model's; none where labels are its own numbers.

        Raises:
            AssayError: One does not fit the images; the message names it.
        """
        assert isinstance(self.source, Held)
        batch, images, marks = self.source.batch, self.source.batch.images, None
        several = isinstance(labels, Tensor) and labels.ndim > 1
        if labels is not None:
            count = self.model.count_classes(images.shape[1:]) if several or classes else None
            width = None if not several else len(classes) or count
            marks = _checked(HEADS[self.model.head], labels, len(images), width, images.device)
            if classes:
                match(classes, self.model.classes)  # Which refuses what can be understood in two ways.
        masks = {name: check_masks(mask, images, name) for name, mask in (("truth", truth), ("distractor", distractor)) if mask is not None}
        held = replace(batch, labels=marks, truth=masks.get("truth"), distractor=masks.get("distractor"))
        return replace(self, source=Held(held), masks=frozenset(masks), several=several, classes=() if labels is None else classes)

    def record(self, explainers: Sequence[Explainer], measures: Sequence[Measure], settings: Mapping[str, Any]) -> dict[str, Any]:
        """The seven reproducibility answers of a study of this.

        Args:
            explainers: What makes the maps.
            measures: What scores them.
            settings: What else decides the results.
        """
        told = {"targets": self.explained, **settings}
        return record(self.model, explainers, measures, self.data, self.source.indices, self.seed, told)

    @property
    def images(self) -> int:
        """Images in all, files that cannot be read included."""
        return len(self.source.indices)

    @property
    def explained(self) -> str:
        """Which class of each image is explained, in a word."""
        return self.targets.name

    def twins(self, shape: Sequence[int]) -> Twins:
        """The model with random weights in all layers and in the last, for images of `shape` (C, H, W); made once."""
        key = tuple(shape)
        if key not in self._twins:
            self._twins[key] = (None, None)
            with suppress(ModelError):
                self._twins[key] = randomised(self.model, "all", self.seed), randomised(self.model, "last", self.seed, key)
        return self._twins[key]

    @property
    def shape(self) -> torch.Size | None:
        """(C, H, W) of the first image; None where it cannot be read."""
        first = next(iter(self.source.read([range(1)])))
        return first.images.shape[1:] if len(first) else None

    def read(self, blocks: Iterable[range]) -> Iterator[Block]:
        """Each block of positions, in order, read ahead."""
        wanted = list(blocks)
        for rows, batch in zip(wanted, self.source.read(wanted), strict=True):
            yield Block(self, rows, batch, *positions_of(self.source, rows, batch))

    def first(self, most: int) -> Block:
        """The first images, at most so many."""
        return next(self.read([range(min(most, self.images))]))

    def labels(self, first: int) -> Labels:
        """Names of labels and classes, also where other processes, or an earlier start, made all passes.

        Args:
            first: Position of an image that can be read.
        """
        try:
            names = self.model.classes
        except ModelError:
            self.model.count_classes(next(self.read([range(first, first + 1)])).batch.images.shape[1:])
            names = self.model.classes
        return match(self.classes, names)


@dataclass(frozen=True, eq=False)
class Block:
    """One block of images.

    Attributes:
        asked: What the study is about.
        rows: The positions that were asked for.
        batch: The images that could be read, as they were read.
        at: Their positions.
        unread: Positions of the others, and what is wrong.
    """

    asked: Asked
    rows: range
    batch: Batch
    at: Sequence[int]
    unread: Sequence[tuple[int, Corrupt]]

    @cached_property
    def case(self) -> Case:
        """The images with targets and logits, on the model's device; there must be one at least."""
        asked, batch, home = self.asked, self.batch, self.asked.model.device
        images, index = sent(batch.images, home), sent(batch.index, home)
        logits = asked.model.unchecked_logits(images)
        targets = asked.targets.of(asked.model, logits, batch, self.at)
        truth, distractor = (None if mask is None else sent(mask, home) for mask in (batch.truth, batch.distractor))
        return Case(asked.model, images, targets, index, asked.seed, truth, distractor, logits)

    @property
    def decision(self) -> Decision:
        """What the model decides about them."""
        return self.case.decision

    def states(self, maps: Mapping[str, Tensor]) -> list[str]:
        """Of each image in the batch: whether its output, and its maps (N, C, H, W) by name, are finite, or what is not."""
        whole = {name: one.flatten(1).isfinite().all(1).tolist() for name, one in maps.items()}
        found = []
        for place, sound in enumerate(self.decision.outputs.isfinite().all(1).tolist()):
            lost = [name for name, fine in whole.items() if not fine[place]]
            broken = f"NaN or infinity in the map of {', '.join(lost)}" if lost else OK
            found.append(broken if sound else "the model's output is NaN or infinite")
        return found

    def fine(self, maps: Mapping[str, Tensor]) -> list[int]:
        """Places within the batch whose output, and whose maps, are finite."""
        return [place for place, state in enumerate(self.states(maps)) if state == OK]

    def status(self, maps: Mapping[str, Tensor]) -> pl.DataFrame:
        """The status of all images: number, name, status, label, predicted class (none where the output is not finite), right, read.

        A label is the data's number of its class, and `right` whether the model's class of it is predicted; none where the model has no
        such class. Where an image may have several labels, there is no one label, but how many findings are known and how many right.
        """
        several = self.asked.several
        schema = _STATUS | _FINDINGS if several else _STATUS
        lines: dict[int, tuple[Any, ...]] = {
            row: (error.name, UNREAD + error.message, None, None, None, False, *([None, None] if several else []))
            for row, error in self.unread
        }
        if self.at:
            own = [None if several else next(iter(self.batch.label_of(at)), None) for at in range(len(self.batch))]
            sound, best = self.decision.outputs.isfinite().all(1).tolist(), self.decision.chosen.tolist()
            told = [one if fine else None for one, fine in zip(best, sound, strict=True)]
            found = self._findings() if several else [()] * len(own)
            right = [one[0] == one[1] if one and one[0] else None for one in found] if several else self._right(own, told)
            rows = zip(self.batch.names, self.states(maps), own, told, right, found, strict=True)
            lines |= {at: (*row, True, *more) for at, (*row, more) in zip(self.at, rows, strict=True)}
        numbers = self.asked.source.indices
        return pl.DataFrame([(int(numbers[row]), *lines[row]) for row in self.rows], schema=schema, orient="row")

    def _right(self, labels: Sequence[int | None], told: Sequence[int | None]) -> list[bool | None]:
        """Whether the model's class of each label is predicted; None where nobody knows."""
        if not self.decision.head.decides or not any(one is not None for one in labels):
            return [None] * len(labels)
        shared = match(self.asked.classes, self.asked.model.classes)
        own = [None if one is None else shared.id_of(one) for one in labels]
        return [None if None in pair else pair[0] == pair[1] for pair in zip(own, told, strict=True)]

    def _findings(self) -> list[tuple[int, int]]:
        """Of each image in the batch, how many findings its labels tell that the model has, and how many of these it has right."""
        if self.batch.labels is None:
            return [(0, 0)] * len(self.batch)
        shared, marks = match(self.asked.classes, self.asked.model.classes), self.batch.labels.cpu()
        pairs = [(at, own) for at in range(marks.shape[1]) if (own := shared.id_of(at)) is not None]
        marks = marks[:, [at for at, _ in pairs]]
        told = self.decision.head.findings(self.decision.outputs).cpu()[:, [own for _, own in pairs]]
        known = marks >= 0
        return list(zip(known.sum(1).tolist(), (known & (told == (marks > 0))).sum(1).tolist(), strict=True))

    def spread(self, values: np.ndarray, places: Sequence[int]) -> np.ndarray:
        """(rows, ...) values of some places of the batch, by position within the block; NaN, or -1, for the others.

        Args:
            values: (places, ...).
            places: Their places within the batch.
        """
        full = np.full((len(self.rows), *values.shape[1:]), np.nan if values.dtype.kind == "f" else -1, values.dtype)
        full[[self.at[place] - self.rows.start for place in places]] = values
        return full


def _checked(head: Head, labels: Any, count: int, width: int | None, device: torch.device) -> Tensor:
    """Labels as `check_labels` checks them, and -1 where nobody knows."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.dtype == torch.bool:
        return check_labels(head, labels, count, width, device).long()
    unknown = labels == -1
    return check_labels(head, labels.masked_fill(unknown, 0), count, width, device).long().masked_fill(unknown.to(device), -1)
