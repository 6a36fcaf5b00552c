"""Targets: what of a network's outputs is explained, where it is not simply the score of one class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.core.inputs import check_targets
from assay.core.registry import register
from assay.errors import DataError, ModelError, ShapeError, SpecError, TargetError
from assay.models.heads import HEADS, Head, Output, matrix, of_class

__all__ = [
    "Aims",
    "Contrast",
    "Decision",
    "Logit",
    "Mean",
    "OwnTarget",
    "Probability",
    "Target",
    "Targets",
    "aim",
    "check_labels",
    "decide",
    "score",
]


class Target(ABC):
    """What is explained of an image: a function from outputs (n, K, ...) to values (n,)."""

    bounded: bool | None = None
    """Whether the values lie in [0, 1]; None if they do where the model explains probabilities."""

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes that it names, the one whose finding is to stay first."""
        return ()

    @abstractmethod
    def value(self, head: Head, outputs: Tensor, usual: Output, asked: Output | None) -> Tensor:
        """Values (n,).

        Args:
            head: Of the network.
            outputs: (n, K, ...).
            usual: What the model explains.
            asked: What is wanted instead, as by measures of the probability; None for what the target is.
        """

    def view(self, head: Head, outputs: Tensor) -> tuple[Head, Tensor]:
        """What the prediction concerned is read from: a head, and its outputs (n, K)."""
        return head, matrix(outputs)


class _OfClass(Target):
    """A target of one class."""

    k: int

    def __post_init__(self) -> None:
        _check_class(self, self.k)

    @property
    def classes(self) -> tuple[int, ...]:
        """See `Target.classes`."""
        return (self.k,)


@register
class Logit(_OfClass):
    """The logit of class `k`, whatever the model explains otherwise; with head="binary" its log-odds, with "scalar" output `k`."""

    k: int
    bounded = False

    def value(self, head: Head, outputs: Tensor, usual: Output, asked: Output | None) -> Tensor:
        """See `Target.value`."""
        return head.scores(matrix(outputs), asked or "logit")[:, self.k]


@register
class Probability(_OfClass):
    """The probability of class `k`, whatever the model explains otherwise."""

    k: int
    bounded = True

    def value(self, head: Head, outputs: Tensor, usual: Output, asked: Output | None) -> Tensor:
        """See `Target.value`.

        Raises:
            ModelError: The head gives values, not probabilities.
        """
        if not head.decides:
            raise ModelError(f"Probability({self.k}): head='scalar' gives values, not probabilities; take Logit({self.k})")
        return head.transform(matrix(outputs), asked or "probability")[:, self.k]


@register
class Contrast(Target):
    """Why class `a` rather than `b`: the score of `a` less that of `b`, by the output that the model explains."""

    a: int
    b: int
    bounded = False

    def __post_init__(self) -> None:
        _check_class(self, self.a)
        _check_class(self, self.b)

    @property
    def classes(self) -> tuple[int, ...]:
        """See `Target.classes`."""
        return (self.a, self.b)

    def value(self, head: Head, outputs: Tensor, usual: Output, asked: Output | None) -> Tensor:
        """See `Target.value`."""
        scores = head.transform(matrix(outputs), asked or usual)
        return scores[:, self.a] - scores[:, self.b]


@register
class Mean(_OfClass):
    """The mean score of class `k` over a region of outputs (N, K, H, W), as of a segmentation.

    Its prediction, which attacks keep, is that of the mean outputs (N, K) over the region.

    Args:
        mask: The region, in the outputs' size (H, W), bool or weights of at least 0; or the path of an .npy file with it.
        k: The class.
    """

    mask: str | Tensor
    k: int

    def __post_init__(self) -> None:
        _check_class(self, self.k)
        if isinstance(self.mask, Tensor):
            _ = self._weights  # Checked now; a file, when it is needed.

    # Two masks are compared as wholes; the generated method would ask a tensor of truths for one.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mean) or self.k != other.k or isinstance(self.mask, str) != isinstance(other.mask, str):
            return False
        return self.mask == other.mask if isinstance(self.mask, str) else torch.equal(self._weights, other._weights)

    def __hash__(self) -> int:
        return hash((Mean, self.k))

    def __repr__(self) -> str:
        return (
            f"Mean(mask={self.mask!r}, k={self.k})"
            if isinstance(self.mask, str)
            else f"Mean(mask of {' x '.join(map(str, self.mask.shape))}, k={self.k})"
        )

    @cached_property
    def _weights(self) -> Tensor:
        """The mask as weights that sum to 1."""
        try:
            mask = torch.from_numpy(np.load(Path(self.mask), allow_pickle=False)) if isinstance(self.mask, str) else self.mask.detach()
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"cannot read the mask {self.mask}: {error}") from error
        weights: Tensor = mask.float()
        if not weights.ndim or not weights.isfinite().all() or (weights < 0).any() or not weights.any():
            raise ShapeError("Mean: mask must be a bool tensor (H, W), or finite weights of at least 0, and not empty")
        return weights / weights.sum()

    def value(self, head: Head, outputs: Tensor, usual: Output, asked: Output | None) -> Tensor:
        """See `Target.value`."""
        return self._pooled(head.scores(outputs, asked or usual))[:, self.k]

    def view(self, head: Head, outputs: Tensor) -> tuple[Head, Tensor]:
        """See `Target.view`."""
        return head, self._pooled(outputs)

    def _pooled(self, outputs: Tensor) -> Tensor:
        """Means (n, K) over the region.

        Raises:
            ShapeError: The mask is not of the outputs' size.
        """
        if outputs.ndim < 3 or self._weights.shape != outputs.shape[2:]:
            raise ShapeError(
                f"Mean: the mask has shape {tuple(self._weights.shape)}, but the model's outputs have {tuple(outputs.shape[2:]) or 'no'} "
                "positions for each class; the mask must lie over the outputs"
            )
        return outputs.flatten(2) @ self._weights.to(outputs.device).flatten()


@dataclass(frozen=True)
class OwnTarget(Target):
    """A caller's own function from outputs to values (n,); it is its own value also where probabilities are asked for.

    Attributes:
        function: The function; differentiable where explainers need a gradient.
    """

    function: Callable[[Tensor], Tensor]
    bounded = False

    def value(self, head: Head, outputs: Tensor, usual: Output, asked: Output | None) -> Tensor:
        """See `Target.value`.

        Raises:
            TargetError: The function does not give one number per image.
        """
        found = self.function(outputs)
        if not isinstance(found, Tensor) or found.shape not in ((len(outputs),), (len(outputs), 1)) or not found.is_floating_point():
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise TargetError(f"a target must map outputs {tuple(outputs.shape)} to one number per image, ({len(outputs)},), not to {what}")
        return found.reshape(-1)

    def view(self, head: Head, outputs: Tensor) -> tuple[Head, Tensor]:
        """The classes' outputs where there are such, else the value."""
        if head.decides and outputs.ndim == 2:
            return head, outputs
        return HEADS["scalar"], self.value(head, outputs, "logit", None)[:, None]


Targets = Tensor | int | Target | Callable[[Tensor], Tensor] | Sequence["int | Target | Callable[[Tensor], Tensor]"]
"""What is explained: class ids (N,), a `Target`, or a callable from outputs to (N,); one for all images, or a list with one for each."""


class Aims(Tensor):
    """Targets (N,) of which some are objects: a class id, or -1 - place in `objects`.

    A tensor, so that explainers and attacks pick the images' targets as they always do; below 0, so that no object is ever
    taken for a class.
    """

    objects: tuple[Target, ...]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What is made of aims has the same objects."""
        made = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        if isinstance(made, cls) and "objects" not in vars(made):
            parts = (part for one in args for part in (one if isinstance(one, list | tuple) else [one]))
            made.objects = next((part.objects for part in parts if isinstance(part, cls) and "objects" in vars(part)), ())
        return made

    def parts(self) -> list[tuple[Target | None, Tensor]]:
        """Each target, None for all class ids, with the places (n,) where it stands."""
        codes = self.as_subclass(Tensor).clamp(max=0)
        if not len(codes):
            return [(self.objects[0], codes)]
        return [(self.objects[-1 - code] if code else None, (codes == code).nonzero().flatten()) for code in codes.unique().tolist()]


def aim(targets: Any, count: int, classes: int | None, device: torch.device) -> Tensor:
    """Targets (N,) on `device`, checked: class ids, or `Aims` where there is an object among them.

    Args:
        targets: See `Targets`.
        count: The number of images N.
        classes: The model's number of classes, where it is known.
        device: Where the images are.

    Raises:
        TargetError: They are neither class ids nor targets, not one for each image, or no classes of the model.
    """
    if isinstance(targets, Aims):
        if targets.shape != (count,):
            raise TargetError(f"targets must be one for each of {count} images, not {tuple(targets.shape)}")
        return targets.to(device)
    if isinstance(targets, Target) or (callable(targets) and not isinstance(targets, Tensor)):
        return _aims([targets], torch.full((count,), -1, device=device), classes)
    if isinstance(targets, int | np.integer) and not isinstance(targets, bool):
        targets = [int(targets)] * count
    if not isinstance(targets, list | tuple) or not any(isinstance(one, Target) or callable(one) for one in targets):
        return check_targets(targets, count, classes, device)
    if len(targets) != count:
        raise TargetError(f"{len(targets)} targets for {count} images; give one for each, or one for all")
    objects: list[Any] = []
    codes = []
    for one in targets:
        if isinstance(one, Target) or callable(one):
            place = next((place for place, other in enumerate(objects) if other is one), len(objects))
            objects[place:] = objects[place:] or [one]
            codes.append(-1 - place)
        else:
            codes.append(int(check_targets([one], 1, classes, device)))
    return _aims(objects, torch.tensor(codes, device=device), classes)


def check_labels(head: Head, labels: Any, count: int, classes: int | None, device: torch.device) -> Tensor:
    """Labels on `device`, checked: class ids (N,), or multi-hot (N, K) where the head has several findings.

    Raises:
        TargetError: They are neither, or multi-hot where the classes exclude each other.
    """
    if not isinstance(labels, Tensor) or labels.ndim < 2:
        return check_targets(labels, count, classes, device)
    if not head.sided:
        raise TargetError(
            f"labels of shape {tuple(labels.shape)} are several findings per image, but head={head.name!r} has one class per image: "
            "give Classifier(net, head='sigmoid'), or class ids (N,)"
        )
    if labels.shape != (count, classes) or not bool(((labels == 0) | (labels == 1)).all()):
        raise TargetError(f"multi-hot labels must be 0 or 1 in shape {(count, classes)}, not shape {tuple(labels.shape)}")
    return labels.to(device, torch.bool)


def _aims(objects: Sequence[Any], codes: Tensor, classes: int | None) -> Aims:
    made = codes.as_subclass(Aims)
    made.objects = tuple(one if isinstance(one, Target) else OwnTarget(one) for one in objects)
    for one in made.objects:
        if isinstance(one, Contrast) and one.a == one.b:
            raise TargetError(f"{one!r} is class {one.a} against itself, which is 0 everywhere; name two classes")
        for number in one.classes:
            if classes is not None and number >= classes:
                raise TargetError(f"{one!r} names class {number} of a model with {classes} classes (0 to {classes - 1})")
    return made


def score(head: Head, outputs: Tensor, targets: Tensor, usual: Output, asked: Output | None = None) -> Tensor:
    """Values (n,) of the targets; see `Target.value`."""
    if not isinstance(targets, Aims):
        return of_class(head.scores(matrix(outputs), asked or usual), targets)

    def value(target: Target | None, outputs: Tensor, ids: Tensor) -> Tensor:
        if target is None:
            return of_class(head.scores(matrix(outputs), asked or usual), ids.as_subclass(Tensor))
        return target.value(head, outputs, usual, asked)

    return _joined([(value(target, outputs[here], targets[here]), here) for target, here in targets.parts()])


@dataclass(frozen=True)
class Decision:
    """What a model decides about each image, as far as it concerns what is explained.

    Attributes:
        head: Reads it: the model's own, or "scalar" where a callable's value is all that there is.
        outputs: (n, K) that it is read from: the model's own, or those of the target's region.
        ids: (n,) the classes that are explained, or that stand for it.
    """

    head: Head
    outputs: Tensor
    ids: Tensor

    @property
    def chosen(self) -> Tensor:
        """The predicted classes (n,); the explained ones where there is none."""
        return self.head.choose(self.outputs) if self.head.decides else self.ids

    def probability(self, ids: Tensor) -> Tensor:
        """Probabilities (n,) of classes (n,); their values where there is none."""
        return of_class(self.head.transform(self.outputs, "probability"), ids)


def decide(head: Head, outputs: Tensor, targets: Tensor) -> Decision:
    """The decision about images with these outputs (n, K, ...) and targets (n,).

    Raises:
        ModelError: The outputs have several positions, and a target names none of them.
    """
    if not isinstance(targets, Aims):
        return Decision(head, matrix(outputs), targets)
    parts = targets.parts()
    seen = [(head, matrix(outputs[here])) if target is None else target.view(head, outputs[here]) for target, here in parts]
    heads = {one for one, _ in seen}
    if len(heads) > 1:
        raise ModelError("some of the targets have a class that can be kept and others only a value; explain them in two calls")
    faced = _joined([(one, here) for (_, one), (_, here) in zip(seen, parts, strict=True)])
    known = [_ids(target, here, one, targets) for (target, here), (_, one) in zip(parts, seen, strict=True)]
    return Decision(heads.pop() if heads else head, faced, _joined(list(zip(known, [here for _, here in parts], strict=True))))


def _ids(target: Target | None, here: Tensor, faced: Tensor, targets: Tensor) -> Tensor:
    """The classes that a target names; the most probable ones where it names none."""
    if target is None:
        return targets[here].as_subclass(Tensor)
    return torch.full_like(here, target.classes[0]) if target.classes else faced.argmax(1)


def _joined(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Rows put together in the order of their places; differentiable."""
    if len(parts) == 1:
        return parts[0][0]
    return torch.cat([one for one, _ in parts])[torch.cat([here for _, here in parts]).argsort()]


def _check_class(target: object, number: int) -> None:
    if number < 0:
        raise SpecError(f"{type(target).__name__}: a class is a whole number of at least 0, not {number}")
