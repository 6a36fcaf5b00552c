"""Random numbers of training: those of one image in one epoch depend on the seed, their purpose, the image and the epoch alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from assay.core import noise

__all__ = ["Draws"]


@dataclass(frozen=True, eq=False)
class Draws:
    """What one random step of training may draw for a batch, whatever batch, process or resumed run the images are in.

    Args:
        seed: The run's seed.
        stream: What the numbers are for; streams are independent of each other.
        index: (n,) int64, the images' numbers in the training set, on the device where the numbers are needed.
        epoch: The epoch's number.
    """

    seed: int
    stream: str
    index: Tensor
    epoch: int = 0

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in (0, 1), (n, *shape) float32."""
        return noise.uniform(self.seed, self.stream, self.index, self._sample(), shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, (n, *shape) float32."""
        return noise.normal(self.seed, self.stream, self.index, self._sample(), shape)

    def _sample(self) -> Tensor:
        return torch.full_like(self.index, self.epoch)
