"""The pass over the images that an audit is made of: block after block, scores kept, maps only for the gallery."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from assay.core.progress import Progress
from assay.core.registry import short
from assay.data.base import Batch
from assay.explain.base import Explainer
from assay.explain.random import RandomMap
from assay.measure.base import Case, Measure
from assay.models.classifier import Classifier
from assay.report import Gallery
from assay.study.labels import Labels

__all__ = ["FLOOR", "OK", "Work", "blocks"]

FLOOR = RandomMap()
OK = "ok"
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Shown:
    """One image of the gallery.

    Attributes:
        image: (1 or 3, H, W).
        name: Its name.
        label: Its label, or None.
        probabilities: (K,).
        truth: (1, H, W) bool, or None.
        distractor: (1, H, W) bool, or None.
        maps: One for each explainer.
        values: (measures, explainers and floor).
    """

    image: Tensor
    name: str
    label: int | None
    probabilities: Tensor
    truth: Tensor | None
    distractor: Tensor | None
    maps: list[Tensor]
    values: Tensor


@dataclass(eq=False)
class Work:
    """An audit while it goes on.

    Attributes:
        model: The model to explain.
        explainers: What explains it, without the floor.
        measures: What scores the maps.
        seed: Decides all randomness, together with the images' numbers.
        targets: One class id for each image that can be read, in order; None for the predicted classes.
        wanted: Images for the gallery.
        count: Images in all, unreadable ones included.
        progress: Called as work goes on.
        numbers: The images' global numbers.
        names: Their names.
        status: "ok" or what was wrong, for each image.
        labels: Their labels, where the data have labels.
        predicted: Predicted classes.
        values: Blocks (measures, explainers and floor, images); NaN where an output or a map is not finite.
        shown: The gallery.
        unread: (name, what was wrong) of files that cannot be read.
    """

    model: Classifier
    explainers: list[Explainer]
    measures: list[Measure]
    seed: int
    targets: Tensor | None
    wanted: int
    count: int
    progress: Progress
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    status: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    predicted: list[int] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)

    @property
    def everyone(self) -> list[Explainer]:
        """The explainers and the floor."""
        return [*self.explainers, FLOOR]

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """(name, what was wrong) of everything that is not ok."""
        return (*self.unread, *((name, text) for name, text in zip(self.names, self.status, strict=True) if text != OK))

    def add(self, batch: Batch) -> None:
        """Explain and measure one batch."""
        self.unread += [(error.name, error.message) for error in batch.errors]
        for rows in blocks(len(batch)):
            self._block(batch, rows)
        self._tell(0)

    def _block(self, batch: Batch, rows: slice) -> None:
        images = batch.images[rows].to(self.model.device)
        index = batch.index[rows].to(images.device)
        done = len(self.numbers)
        logits = self.model.unchecked_logits(images)
        targets = logits.argmax(1) if self.targets is None else self.targets[done : done + len(images)].to(images.device)
        case = Case(self.model, images, targets, index, self.seed, None if batch.truth is None else batch.truth[rows].to(images.device))
        case.__dict__["logits"] = logits

        maps, damaged = [], []
        for place, explainer in enumerate(self.everyone):
            self._tell(len(images) * place)
            found = explainer.attribute(self.model, images, targets, index, self.seed)
            maps.append(found)
            damaged.append(~found.flatten(1).isfinite().all(1))
        clean = [one.nan_to_num(0.0, 0.0, 0.0) for one in maps]
        scored = []
        for place, measure in enumerate(self.measures):
            self._tell(len(images) * (len(maps) + place))
            scored.append(measure.evaluate(case, clean, self.everyone))
        lost = torch.stack(damaged) | ~logits.isfinite().all(1)
        values = torch.stack(scored).masked_fill(lost, math.nan).cpu()
        self._keep(batch, rows, logits.cpu(), torch.stack(damaged).cpu(), values, [one.cpu() for one in maps])

    def _keep(self, batch: Batch, rows: slice, logits: Tensor, damaged: Tensor, values: Tensor, maps: list[Tensor]) -> None:
        sound = logits.isfinite().all(1).tolist()
        self.numbers += batch.index[rows].tolist()
        self.names += batch.names[rows]
        self.status += [self._state(fine, damaged[:, place]) for place, fine in enumerate(sound)]
        self.predicted += logits.argmax(1).tolist()
        self.values.append(values)
        if batch.labels is not None:
            self.labels += batch.labels[rows].tolist()
        for place in range(len(sound)):
            # Spread over all the images: data sets come sorted by class.
            due = len(self.numbers) - len(sound) + place >= len(self.shown) * self.count / self.wanted
            if sound[place] and due and len(self.shown) < self.wanted:
                one = _shown(batch, rows.start + place, logits[place], [own[place] for own in maps[:-1]], values[:, :, place])
                self.shown.append(one)

    def _state(self, sound: bool, damaged: Tensor) -> str:
        if not sound:
            return "the model's output is NaN or infinite"
        lost = [short(one) for one, bad in zip(self.everyone, damaged.tolist(), strict=True) if bad]
        return f"NaN or infinity in the map of {', '.join(lost)}" if lost else OK

    def _tell(self, units: int) -> None:
        steps = len(self.explainers) + 1 + len(self.measures)
        done = (len(self.numbers) + len(self.unread)) * steps + units
        self.progress("audit", min(done, self.count * steps), self.count * steps)

    def gallery(self, measures: Sequence[str], labels: Labels) -> Gallery:
        """The images kept for the report.

        Args:
            measures: The measures' names.
            labels: Names of labels and predictions.
        """
        shown = self.shown
        predicted = [int(one.probabilities.argmax()) for one in shown]
        explainers = [short(one) for one in self.explainers]
        return Gallery(
            images=torch.stack([one.image for one in shown]),
            names=tuple(one.name for one in shown),
            labels=tuple(labels.name_of(one.label) for one in shown),
            predictions=tuple(labels.names[best] for best in predicted),
            probabilities=tuple(float(one.probabilities[best]) for one, best in zip(shown, predicted, strict=True)),
            maps={name: torch.stack([one.maps[place] for one in shown]) for place, name in enumerate(explainers)},
            truth=_stacked([one.truth for one in shown]),
            distractor=_stacked([one.distractor for one in shown]),
            scores={
                name: {measure: tuple(float(one.values[line, place]) for one in shown) for line, measure in enumerate(measures)}
                for place, name in enumerate(explainers)
            },
        )


def blocks(count: int) -> Iterator[slice]:
    """Even blocks of images, so that each explainer's chunks are full and its maps take bounded memory."""
    if count:
        size = math.ceil(count / math.ceil(count / _BLOCK))
        for start in range(0, count, size):
            yield slice(start, min(start + size, count))


def _shown(batch: Batch, at: int, logits: Tensor, maps: list[Tensor], values: Tensor) -> Shown:
    image = batch.images[at].cpu()
    return Shown(
        # What has no colours is shown as the channels' mean.
        image=image if len(image) in (1, 3) else image.mean(0, keepdim=True),
        name=batch.names[at],
        label=None if batch.labels is None else int(batch.labels[at]),
        probabilities=logits.softmax(0),
        truth=None if batch.truth is None else batch.truth[at].cpu(),
        distractor=None if batch.distractor is None else batch.distractor[at].cpu(),
        maps=[one.clone() for one in maps],  # A view would keep the whole block's maps in memory.
        values=values,
    )


def _stacked(masks: list[Tensor | None]) -> Tensor | None:
    known = [mask for mask in masks if mask is not None]
    return torch.stack(known) if known and len(known) == len(masks) else None
