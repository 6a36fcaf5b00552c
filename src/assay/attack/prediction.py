"""Gradients of a loss of the model's own logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from assay.models.classifier import Classifier
from assay.models.passes import slope_of

__all__ = ["Loss", "loss_gradient"]

Loss = Callable[[Tensor, slice], Tensor]
"""Losses (n,) of the logits (n, K) of a slice of the images."""


def loss_gradient(model: Classifier, images: Tensor, loss: Loss) -> Tensor:
    """Gradient (N, C, H, W) at the pixels of each image's loss; images of a chunk whose losses are all 0 go forward only.

    Raises:
        ModelError: The logits do not depend on the pixels in a way that can be differentiated.
    """
    found = torch.zeros_like(images)

    def step(start: int, stop: int) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            pixels = images[start:stop].detach().clone().requires_grad_()
            losses = loss(model.forward(pixels), slice(start, stop))
            if losses.requires_grad and not bool((losses != 0).any()):
                return
            slope = slope_of(model, losses, pixels)
        model.passes.backward += stop - start
        found[start:stop] = slope

    model.run(len(images), images.shape[1:], True, step)
    return found
