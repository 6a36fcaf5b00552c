"""What adversarial training needs of an attack: the concrete ones stand in `assay.attack`, which knows about models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from assay.models.training.draws import Draws

__all__ = ["Adversary", "LossOf"]

LossOf = Callable[[Tensor], Tensor]
"""From pixels (n, C, H, W) to the loss of each image (n,), differentiable."""


class Adversary(ABC):
    """Replaces every training image by a near one on which the network does worse (Madry et al., ICLR 2018)."""

    reference: ClassVar[str]
    """The paper that describes it."""

    @abstractmethod
    def __call__(self, loss: LossOf, pixels: Tensor, draws: Draws) -> Tensor:
        """Pixels (n, C, H, W) in [0, 1], detached, in place of `pixels`.

        Args:
            loss: The network's loss at pixels; the network is in eval mode meanwhile and is not changed.
            pixels: (n, C, H, W) float32 in [0, 1].
            draws: Random numbers, as many as wanted.
        """
