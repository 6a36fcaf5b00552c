"""The step that learns masks with the model fixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from assay.errors import ModelError
from assay.models.classifier import Classifier
from assay.tune.drawn_backgrounds import Backdrop, fill
from assay.tune.simplify import TOLERANCE, enlarge_masks, gap, pixels, roughness, simplify

__all__ = ["Learned", "MaskImages", "MaskRule", "Sums", "batch_sizes", "learn"]

_BETAS, _TINY = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class MaskRule:
    """How masks are learned.

    Args:
        lr: Step size.
        optimiser: "adam"; "sgd" on each image's own loss, times the number of cells, so that a step moves a cell by about
            `lr` times the sparsity weight at every size; "paper" for SGD on the mean loss of the actual batch, the size being that of
            the enlarged mask, whose slope is 0 where it is 0.
        lambda_data: Weight of the distance between the predictions on the image and on what the mask leaves of it.
        smoothness: Weight of the differences between neighbouring cells.
        background: What erased pixels are replaced by.
        tolerance: What of a difference of probabilities does not count.
    """

    lr: float
    optimiser: Literal["adam", "sgd", "paper"]
    lambda_data: float
    smoothness: float
    background: Backdrop
    tolerance: float = TOLERANCE


@dataclass(eq=False)
class Learned:
    """Masks on their way, with the memory of their optimiser.

    Attributes:
        masks: (n, 1, rows, columns) float32 in [0, 1].
        moments: First and second moments of Adam; empty for SGD.
        steps: Epochs since the memory was empty.
    """

    masks: Tensor
    moments: tuple[Tensor, ...] = ()
    steps: int = 0

    @classmethod
    def whole(cls, count: int, grid: tuple[int, int], rule: MaskRule, device: torch.device) -> Learned:
        """Masks that keep everything."""
        masks = torch.ones(count, 1, *grid, device=device)
        return cls(masks, (torch.zeros_like(masks), torch.zeros_like(masks)) if rule.optimiser == "adam" else ())

    def forget(self) -> None:
        """Empty the optimiser's memory: with another model or weight, the gradients of before would only hold the masks back."""
        for moment in self.moments:
            moment.zero_()
        self.steps = 0


def batch_sizes(total: int, batch_size: int, order: Tensor) -> Tensor:
    """Sizes (total,) of the batches that the images fall into, the last being what is left, when all are taken in this order."""
    sizes = torch.empty(total)
    for batch in order.split(batch_size):
        sizes[batch] = float(len(batch))
    return sizes


@dataclass
class Sums:
    """Sums over images of what an epoch's loss is made of; divided by the count at the end."""

    values: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, count: int, **parts: Tensor) -> None:
        """Add the parts (n,) of `count` images."""
        self.count += count
        for name, part in parts.items():
            self.values[name] = self.values.get(name, 0.0) + float(part.double().sum())


@dataclass(frozen=True, eq=False)
class MaskImages:
    """Images whose masks are learned.

    Attributes:
        images: (n, C, H, W), bytes or floats.
        wanted: (n, K) the probabilities of f_b on them.
        own: (n, K) those of the model.
        index: (n,) their global numbers.
        batches: (n,) sizes of their batches, which "paper" divides by.
    """

    images: Tensor
    wanted: Tensor
    own: Tensor
    index: Tensor
    batches: Tensor | None = None


def learn(
    model: Classifier,
    on: MaskImages,
    learned: Learned,
    rule: MaskRule,
    weight: float,
    seed: int,
    *,
    tell: Callable[[int], None] | None = None,
) -> Sums:
    """One epoch of masks: one step for each image's mask, one pass forward and one backward to the pixels for each image.

    `weight |m|_1 / cells + lambda_data |f(x) - f(m x + (1 - m) q)|_1`, of class probabilities; the masks are clamped to [0, 1].
    For "paper", `|m|_1` is of the enlarged mask, over its pixels.

    Args:
        model: f, fixed.
        on: The images.
        learned: The masks; changed in place.
        rule: How they are learned.
        weight: Weight of their size.
        seed: Decides the backgrounds, together with the images' numbers.
        tell: Told the number of images done.

    Raises:
        ModelError: The model has no gradient at its pixels.
        SpecError: The background does not fit the images.
    """
    sums = Sums()
    learned.steps += 1

    def step(start: int, stop: int) -> None:
        rows = slice(start, stop)
        clean = pixels(on.images[rows], model.device)
        behind = fill(rule.background, clean, on.index[rows], seed)
        with torch.enable_grad():
            masks = learned.masks[rows].clone().requires_grad_()
            found = model.transform(model.forward(simplify(clean, masks, behind)), "probability")
            distance = gap(found, on.own[rows], rule.tolerance)
            # abs has slope 0 at 0; masks are never negative, so it changes nothing else.
            large = enlarge_masks(masks, *clean.shape[2:]).abs() if rule.optimiser == "paper" else masks
            size = large.mean((1, 2, 3))
            loss = weight * size + rule.lambda_data * distance
            if rule.smoothness:
                loss = loss + rule.smoothness * roughness(masks)
            if not found.requires_grad:
                raise ModelError(f"{model.name} has no gradient at its pixels, so no mask can be learned for it")
            (gradient,) = torch.autograd.grad(loss.sum(), masks)
        model.count_backward(stop - start)
        _move(learned, rows, gradient, rule, on.batches)
        found = found.detach()
        same = found.argmax(1) == on.wanted[rows].argmax(1)
        sums.add(stop - start, loss=loss.detach(), kept=size.detach(), distance=distance.detach(), agreement=same)
        if tell is not None:
            tell(stop)

    model.run(len(on.images), on.images.shape[1:], True, step)
    return sums


def _move(learned: Learned, rows: slice, gradient: Tensor, rule: MaskRule, batches: Tensor | None) -> None:
    """One step of the masks of some images, in place."""
    masks = learned.masks[rows]
    if rule.optimiser == "adam":
        first, second = (moment[rows] for moment in learned.moments)
        # Times the number of cells: a cell's gradient is then of the same size on every grid, and so is what eps means.
        gradient = gradient * masks[0].numel()
        first.lerp_(gradient, 1 - _BETAS[0])
        second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        unbiased = [moment / (1 - beta**learned.steps) for moment, beta in zip((first, second), _BETAS, strict=True)]
        masks.addcdiv_(unbiased[0], unbiased[1].sqrt_().add_(_TINY), value=-rule.lr)
    elif rule.optimiser == "sgd":
        masks.add_(gradient, alpha=-rule.lr * masks[0].numel())
    else:
        assert batches is not None
        masks.sub_(gradient * (rule.lr / batches[rows].to(masks.device)).view(-1, 1, 1, 1))
    masks.clamp_(0, 1)
