"""How a network is trained, as one spec: `Recipe(epochs=16, augment=(Shift(pixels=4), Flip()))`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from assay.core.precision import AnyPrecision
from assay.core.registry import check_at_least, check_positive, register
from assay.errors import SpecError
from assay.models.training.adversary import Adversary
from assay.models.training.draws import Draws

__all__ = ["Augmentation", "Flip", "PixelDropout", "Recipe", "Shift"]

_GREY = 128
"""0.5, as near as a byte comes to it."""


class Augmentation(ABC):
    """A random change to training images that leaves their labels right."""

    @abstractmethod
    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Change images (N, H, W, C) uint8, each on its own, by random numbers of its own."""


@register
class Shift(Augmentation):
    """Move each image by up to `pixels` down and across; what comes in at the border is the image reflected."""

    pixels: int = 4

    def __post_init__(self) -> None:
        check_at_least(self, 0, "pixels")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See `Augmentation`."""
        count, height, width, _ = images.shape
        if self.pixels >= min(height, width):
            raise SpecError(f"Shift: pixels must be smaller than the images, which are {height}x{width}, not {self.pixels}")
        # Rounding may take the largest product up to the next whole number.
        by = (draws.uniform(2) * (2 * self.pixels + 1)).long().clamp_max(2 * self.pixels) - self.pixels
        rows = _reflect(torch.arange(height, device=images.device) + by[:, :1], height)
        columns = _reflect(torch.arange(width, device=images.device) + by[:, 1:], width)
        image = torch.arange(count, device=images.device)
        return images[image[:, None, None], rows[:, :, None], columns[:, None, :]]


@register
class Flip(Augmentation):
    """Mirror each image left to right with probability one half."""

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See `Augmentation`."""
        mirrored = draws.uniform(1, 1, 1) < 0.5
        return torch.where(mirrored, images.flip(2), images)


@register
class PixelDropout(Augmentation):
    """Replace each pixel, in all channels, by grey 0.5 with probability `share`: the network then bears erasure.

    Source: the authors' public script, AI4LIFE-GROUP/DiET, which trains the baseline for chest X-rays so, with a share of 0.5.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise SpecError(f"PixelDropout: share must be at least 0 and below 1, not {self.share!r}")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """See `Augmentation`."""
        _, height, width, _ = images.shape
        return torch.where(draws.uniform(height, width, 1) < self.share, _GREY, images)


@register
class Recipe:
    """Every choice of a training run but the data, the architecture and the seed.

    Args:
        epochs: Passes over the training images.
        batch_size: Images per step; the images left over in an epoch wait for the next one.
        optimiser: "sgd" with Nesterov momentum, "adamw", or "muon" (`assay.models.training.muon`) with learning rates like those
            of "adamw".
        lr: Highest learning rate, reached after the warm-up; it ends at zero along half a cosine.
        warmup: Share of all steps during which the learning rate rises from zero in a straight line.
        momentum: Momentum of SGD and Muon, or the first beta of AdamW.
        weight_decay: Decay of the weights; biases and normalisation have none.
        label_smoothing: Share of each label that is spread over all classes.
        augment: Random changes to the training images, in order.
        precision: "bfloat16" computes under autocast (weights and sums stay float32), "float32" throughout; "auto" is the faster one.
        adversary: Trains on the images that it makes of the augmented ones; None for those themselves.
    """

    epochs: int = 16
    batch_size: int = 128
    optimiser: Literal["sgd", "adamw", "muon"] = "sgd"
    lr: float = 0.2
    warmup: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    augment: tuple[Augmentation, ...] = ()
    precision: AnyPrecision = "auto"
    adversary: Adversary | None = None

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs", "batch_size")
        check_positive(self, "lr")
        check_at_least(self, 0, "weight_decay")
        for name in ("warmup", "momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise SpecError(f"Recipe: {name} must be at least 0 and below 1, not {getattr(self, name)!r}")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step 0..steps-1."""
        rising = self.warmup * steps
        if step + 1 <= rising:
            return self.lr * (step + 1) / rising
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step + 1 - rising) / (steps + 1 - rising)))


def _reflect(position: Tensor, size: int) -> Tensor:
    """Positions outside 0..size-1, by less than `size`, mirrored back inside."""
    return (size - 1) - ((size - 1) - position.abs()).abs()
