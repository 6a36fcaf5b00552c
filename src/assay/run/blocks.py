"""How the images of a run are cut into blocks, the unit that is computed, kept and resumed."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["BLOCK", "Blocks"]

BLOCK = 64
"""Images in a block at most, unless the user says otherwise: explainers' chunks are full and the maps take bounded memory."""


@dataclass(frozen=True)
class Blocks:
    """Consecutive positions among the chosen images, `size` in each block and what is left in the last.

    Args:
        images: Images in all.
        size: Images in a block.
        unit: What is counted where it is something else than images.
    """

    images: int
    size: int
    unit: str = "image"

    @classmethod
    def even(cls, images: int, most: int = BLOCK) -> Blocks:
        """As few blocks of at most `most` images as there can be, evened out so that the last is nearly as full as the others."""
        return cls(images, math.ceil(images / math.ceil(images / most)) if images else 1)

    def __len__(self) -> int:
        return math.ceil(self.images / self.size)

    def rows(self, block: int) -> range:
        """The positions in a block."""
        return range(block * self.size, min((block + 1) * self.size, self.images))
