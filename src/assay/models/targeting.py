"""What is explained of many images: their predictions, their labels, or one thing for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.core.registry import build, nearest, registered
from assay.data.base import Batch
from assay.errors import TargetError
from assay.models.classifier import Classifier
from assay.models.labels import match
from assay.models.targets import Contrast, Target, Targets, aim

__all__ = ["PREDICTED", "Targeting", "given_targets", "targeting"]


@dataclass(frozen=True, eq=False)
class Targeting:
    """Which class, or what else of the outputs, is explained of each image.

    Attributes:
        name: It in words: "predicted", "labelled", "given", or one target for all.
        given: Targets (images,), by position.
        one: One target for all.
        ids: The model's class of each label, where labels are explained.
    """

    name: str = "predicted"
    given: Tensor | None = None
    one: Targets | None = None
    ids: tuple[int, ...] | None = None

    @classmethod
    def read(cls, targets: Targeting | Tensor | None) -> Targeting:
        """It, or targets (images,); the predicted classes where None."""
        if isinstance(targets, Targeting):
            return targets
        return PREDICTED if targets is None else cls("given", targets)

    @property
    def words(self) -> str:
        """It in a sentence."""
        return f"the {self.name} class" if self.one is None else self.name

    @property
    def sample(self) -> Tensor | None:
        """Targets that show of what kind they are, where that is known beforehand."""
        return self.given if self.one is None else aim(self.one, 1, None, torch.device("cpu"))

    def of(self, model: Classifier, logits: Tensor, batch: Batch, at: Sequence[int]) -> Tensor:
        """Targets (n,) of a batch, on the device of its logits.

        Args:
            model: The model.
            logits: (n, K, ...) of the batch.
            batch: The images.
            at: Their positions.

        Raises:
            TargetError: An image has no label where labels are explained.
            ModelError: The outputs have no one class where predictions are explained.
        """
        home = logits.device
        if self.given is not None:
            return self.given.cpu()[torch.tensor(at)].to(home)
        if self.one is not None:
            return aim(self.one, len(batch), None, home)
        if self.ids is None:
            return model.choose(logits)
        if batch.labels is None or bool((batch.labels < 0).any()):
            raise TargetError("labels are to be explained, but images have none; leave these out, or explain the predicted class")
        return torch.tensor(self.ids, device=home)[batch.labels.to(home)]


PREDICTED = Targeting()


def given_targets(targets: Targets | None, model: Classifier, images: Tensor) -> Targeting:
    """What a caller gives as targets of images (N, C, H, W), checked; the predicted classes where None."""
    if targets is None:
        return PREDICTED
    return Targeting("given", aim(targets, len(images), model.count_classes(images.shape[1:]), images.device))


def targeting(chosen: Sequence[str], model: Classifier, shape: Sequence[int], classes: Sequence[str]) -> Targeting:
    """What texts say is explained.

    Args:
        chosen: "predicted" or "labelled"; one class by name or number, two for their contrast; or the spec of a target.
        model: The model.
        shape: (C, H, W) of an image.
        classes: Names of the labels' classes.

    Raises:
        TargetError: They say nothing of the kind, or the model has no such class.
        SpecError: A spec is wrong.
    """
    if list(chosen) in ([], ["predicted"]):
        return PREDICTED
    count = model.count_classes(shape)
    if list(chosen) == ["labelled"]:
        ids = match(classes, model.classes).ids if classes else None
        if ids is None or None in ids:
            lost = [name for name, number in zip(classes, ids or (), strict=False) if number is None]
            why = f"the model has no class {lost[0]}" if lost else "the images have none"
            raise TargetError(f"--target labelled needs labels of the model's classes: {why}")
        return Targeting("labelled", ids=tuple(number for number in ids if number is not None))
    if len(chosen) == 1 and chosen[0].partition("(")[0].strip() in registered(Target) and "(" in chosen[0]:
        target = build(chosen[0], Target)
        aim(target, 1, count, torch.device("cpu"))
        return Targeting(repr(target), one=target)
    if len(chosen) > 2:
        raise TargetError(f"--target takes one class, or two for their contrast, not {len(chosen)}")
    numbers = [_number(name, model, classes) for name in chosen]
    if len(numbers) == 1:
        return Targeting(f"class {chosen[0]}", one=numbers[0])
    contrast = Contrast(numbers[0], numbers[1])
    aim(contrast, 1, count, torch.device("cpu"))
    return Targeting(f"class {chosen[0]} against class {chosen[1]}", one=contrast)


def _number(name: str, model: Classifier, classes: Sequence[str]) -> int:
    """The model's class of a name, of the model's or else of the data's, or of a number."""
    known = model.classes
    shared = match(classes, known)
    if name in known:
        return known.index(name)
    if name in classes and (found := shared.id_of(list(classes).index(name))) is not None:
        return found
    if name.isascii() and name.isdigit() and int(name) < len(known):
        return int(name)
    raise TargetError(
        f"--target {name} is no class{nearest(name, known)}; give a class's name or number (0 to {len(known) - 1}), predicted, labelled, "
        "or two classes for their contrast"
    )
