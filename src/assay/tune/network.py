"""The network that is tuned: a copy of the caller's that takes the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from assay.errors import ModelError
from assay.models.classifier import Classifier
from assay.models.outputs import Select, selected
from assay.models.preparation.prepare import frozen_copy

__all__ = ["PixelNet", "logits_of", "original", "trainable", "wrapped"]


class PixelNet(nn.Module):
    """A network with its normalisation: images in [0, 1] to logits (N, K).

    Args:
        net: The network.
        mean: Per-channel mean of its training images; None for no shift.
        std: Per-channel standard deviation, likewise.
        select: See `Classifier`.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, net: nn.Module, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, select: Select | None = None
    ) -> None:
        super().__init__()
        self.net = net
        self.select = select
        centre = torch.tensor(0.0 if mean is None else mean, dtype=torch.float32).reshape(-1, 1, 1)
        spread = torch.tensor(1.0 if std is None else std, dtype=torch.float32).reshape(-1, 1, 1)
        self.register_buffer("shift", -centre / spread)
        self.register_buffer("scale", 1 / spread)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        return logits_of(self.net(images * self.scale + self.shift), self.select)


def trainable(net: nn.Module | Classifier) -> nn.Module:
    """A float32 copy of the network in eval mode that shares nothing with it; a Classifier's comes with its normalisation.

    Parameters that the caller froze stay frozen; where all are, all are trained.

    Raises:
        ModelError: `net` is neither, cannot be copied, or has no parameters.
    """
    if isinstance(net, Classifier):
        net.need_layers("DiET")
        facts = net.identity()
        with net.plain():
            copied: nn.Module = PixelNet(frozen_copy(net.module), facts["mean"], facts["std"], net.select).to(net.device).float()
        return copied.requires_grad_()
    if not isinstance(net, nn.Module):
        raise ModelError(f"DiET tunes a torch.nn.Module or an assay.Classifier, not {type(net).__name__}")
    copied = frozen_copy(net).float()
    if next(copied.parameters(), None) is None:
        raise ModelError(f"{type(net).__name__} has no parameters, so there is nothing to tune")
    everything = not any(parameter.requires_grad for parameter in net.parameters())
    for parameter, own in zip(copied.parameters(), net.parameters(), strict=True):
        parameter.requires_grad_(everything or own.requires_grad)
    return copied


def original(net: nn.Module | Classifier) -> Classifier:
    """The model f_b whose predictions are to be kept."""
    return net if isinstance(net, Classifier) else Classifier(net)


def wrapped(net: nn.Module, like: Classifier, precision: Any = "float32") -> Classifier:
    """A frozen, folded copy of a network on its way through tuning, with the class names of the reference."""
    return Classifier(net, precision=precision, select=like.select if not isinstance(net, PixelNet) else None, device=like.device)


def logits_of(out: Any, select: Select | None = None) -> Tensor:
    """The logits (N, K) in a network's output, float32.

    Raises:
        ModelError: There are none.
    """
    logits = selected(out, select)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ModelError("the network's output holds no logits (N, K); wrap it: assay.Classifier(net, select=...)")
    return logits.float()
