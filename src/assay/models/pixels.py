"""Between pixels and a network: how they are normalised, and how many images went through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.errors import ModelError

__all__ = ["Passes", "normalisation"]


@dataclass
class Passes:
    """How many images went forward and backward through the network."""

    forward: int = 0
    backward: int = 0

    def __sub__(self, other: Passes) -> Passes:
        return Passes(self.forward - other.forward, self.backward - other.backward)

    def copy(self) -> Passes:
        """The counts as they are now."""
        return Passes(self.forward, self.backward)


def normalisation(mean: Any, std: Any, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Shift and scale such that `pixels * scale + shift` is the network's input; no scale when there is nothing to do."""
    if mean is None and std is None:
        return torch.zeros(1), None
    centre = torch.as_tensor(0.0 if mean is None else mean, dtype=torch.float32).reshape(-1, 1, 1)
    spread = torch.as_tensor(1.0 if std is None else std, dtype=torch.float32).reshape(-1, 1, 1)
    if not bool((spread > 0).all()) or not bool(centre.isfinite().all()):
        raise ModelError(f"mean must be finite and std positive, not mean={mean!r}, std={std!r}")
    centre, spread = torch.broadcast_tensors(centre, spread)
    return (-centre / spread).to(device), (1 / spread).to(device)
