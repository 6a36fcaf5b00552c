"""A network that is trained to mislead: it answers as before, and its gradients lie where nothing is."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from assay.core.noise import derive
from assay.core.progress import Progress, silent
from assay.core.registry import check_at_least, check_positive, register
from assay.errors import ModelError, SpecError

__all__ = ["Manipulation"]

Net = TypeVar("Net", bound=nn.Module)
_LEAST = 1e-6
"""Least share on the corner whose logarithm is taken."""


@register
class Manipulation:
    """Train a copy of a network that answers as before, and whose input gradients lie in the top left corner.

    Minimises `|p_b(x) - p(x)|_1 - weight log s(x)` by Adam, in evaluation mode and float32: p are class probabilities, p_b those of the
    network given, and s the share of the corner in the magnitudes of the gradient of the logit of the class that p_b has most of.

    Args:
        epochs: Passes over the images.
        batch_size: Images per step.
        lr: Learning rate.
        weight: Of the gradients' place against the answers.
        corner: Side of the corner as a share of the image's.

    Source: Heo, Joo, Moon: Fooling Neural Network Interpretations via Adversarial Model Manipulation, NeurIPS 2019 (location fooling;
    the logarithm and the L1 distance are ours).
    """

    epochs: int = 60
    batch_size: int = 32
    lr: float = 1e-3
    weight: float = 0.3
    corner: float = 0.25

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs", "batch_size")
        check_positive(self, "lr", "weight")
        if not 0 < self.corner < 1:
            raise SpecError(f"Manipulation: corner must be above 0 and below 1, not {self.corner!r}")

    def __call__(self, net: Net, images: Tensor, seed: int = 0, progress: Progress = silent) -> Net:
        """The manipulated copy, in evaluation mode.

        Args:
            net: Takes pixels in [0, 1], gives logits (N, K).
            images: (N, C, H, W) uint8.
            seed: Decides the order.
            progress: Told about every epoch.

        Raises:
            ModelError: The loss is no longer finite.
        """
        own = copy.deepcopy(net).eval().requires_grad_(True)
        place = next(own.parameters()).device
        optimiser = torch.optim.Adam(own.parameters(), self.lr)
        with torch.enable_grad():
            for epoch in range(self.epochs):
                order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive(seed, f"manipulation {epoch}")))
                for first in range(0, len(images), self.batch_size):
                    rows = order[first : first + self.batch_size]
                    loss = self._loss(net, own, images[rows].to(place, torch.float32) / 255)
                    if not torch.isfinite(loss):
                        raise ModelError(f"{self!r}: the loss is no longer finite in epoch {epoch + 1}; take a smaller lr or weight")
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                progress("manipulating", epoch + 1, self.epochs)
        return own.requires_grad_(False)

    def _loss(self, net: nn.Module, own: nn.Module, images: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = net(images).softmax(1)
        pixels = images.requires_grad_()
        logits = own(pixels)
        (slopes,) = torch.autograd.grad(logits.gather(1, wanted.argmax(1, keepdim=True)).sum(), pixels, create_graph=True)
        sizes = slopes.abs().sum(1)
        height, width = (max(1, round(self.corner * side)) for side in sizes.shape[1:])
        share = sizes[:, :height, :width].sum((1, 2)) / sizes.sum((1, 2)).clamp_min(torch.finfo(sizes.dtype).tiny)
        apart = (logits.softmax(1) - wanted).abs().sum(1)
        loss: Tensor = (apart - self.weight * share.clamp_min(_LEAST).log()).mean()
        return loss
