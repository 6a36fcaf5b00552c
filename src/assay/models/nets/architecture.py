"""What an architecture is: everything about a network but its weights, as a spec.

To add one, write a registered dataclass that is an `Architecture` and whose `_net` builds the module, in a file of its
own, and name it in `architectures.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from assay.core.noise import derive
from assay.errors import ModelError
from assay.models.seeded import seeded

__all__ = ["Architecture"]


class Architecture(ABC):
    """A network's description: everything but the weights.

    Subclasses have the fields `classes`, the number of logits, and `channels`, those of the images.
    """

    classes: int
    channels: int
    reference: ClassVar[str]
    """The paper that describes it."""

    def make(self, seed: int = 0) -> nn.Module:
        """A freshly initialised network on the CPU; the same seed gives the same weights, and no global generator moves."""
        with seeded(derive(seed, "initialise")):
            return self._net()

    def check(self, shape: Sequence[int]) -> None:
        """Do nothing if images of `shape` (C, H, W) fit.

        Raises:
            ModelError: They do not; the message says which parameter to change.
        """
        if shape[0] != self.channels:
            raise ModelError(f"{type(self).__name__} has channels={self.channels}, but the images have {shape[0]}")

    def check_side(self, side: int, shape: Sequence[int]) -> None:
        """For networks that know one size only: see `check`.

        Raises:
            ModelError: The images are not `side` by `side`.
        """
        if tuple(shape[1:]) != (side, side):
            raise ModelError(f"{type(self).__name__} has size={side}, but the images are {shape[1]}x{shape[2]}; set its size or theirs")

    @abstractmethod
    def _net(self) -> nn.Module: ...
