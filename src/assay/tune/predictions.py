"""What a model says of images, and of what masks leave of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from assay.core.inputs import check_finite
from assay.core.noise import derive
from assay.models.classifier import Classifier
from assay.tune.drawn_backgrounds import Backdrop, fill
from assay.tune.simplify import pixels, simplify

__all__ = ["agreement", "probabilities", "simplified_probabilities"]


def probabilities(model: Classifier, images: Tensor) -> Tensor:
    """Class probabilities (N, K) of images (N, C, H, W), bytes or floats, on the model's device.

    Raises:
        NotFiniteError: The model's output for an image is NaN or infinite.
    """
    rows: list[Tensor] = []

    def step(start: int, stop: int) -> None:
        with torch.no_grad():
            rows.append(model.transform(model.forward(pixels(images[start:stop], model.device)), "probability"))

    model.run(len(images), images.shape[1:], False, step)
    return check_finite(torch.cat(rows), "the model's output")


def simplified_probabilities(model: Classifier, images: Tensor, masks: Tensor, background: Backdrop, index: Tensor, seed: int) -> Tensor:
    """Class probabilities (N, K) of `m x + (1 - m) q`.

    Args:
        model: The model.
        images: (N, C, H, W), bytes or floats.
        masks: (N, 1, rows, columns) in [0, 1], of any grid.
        background: What q is; see `assay.tune.drawn_backgrounds`.
        index: (N,) the images' global numbers.
        seed: Decides the backgrounds, together with `index`.
    """
    rows: list[Tensor] = []

    def step(start: int, stop: int) -> None:
        clean = pixels(images[start:stop], model.device)
        behind = fill(background, clean, index[start:stop], seed)
        with torch.no_grad():
            rows.append(model.transform(model.forward(simplify(clean, masks[start:stop], behind)), "probability"))

    model.run(len(images), images.shape[1:], False, step)
    return check_finite(torch.cat(rows), "the model's output")


def agreement(
    model: Classifier, wanted: Tensor, images: Tensor, masks: Tensor, backgrounds: Sequence[Backdrop], index: Tensor, seed: int
) -> Tensor:
    """Share of the backgrounds (N,) on which the model's class for what a mask leaves is that of `wanted` (N, K)."""
    right = torch.zeros(len(images), device=model.device)
    for number, background in enumerate(backgrounds):
        found = simplified_probabilities(model, images, masks, background, index, derive(seed, f"background {number}"))
        right += found.argmax(1) == wanted.argmax(1)
    return right / len(backgrounds)
