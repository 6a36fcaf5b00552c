"""What a command hands to a tuning: the network, and the images that take part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from assay.models.sources.spec import FoundNetwork

__all__ = ["ToTune", "TuneImages"]


@dataclass(frozen=True, eq=False)
class TuneImages:
    """Images that take part, with what is known of them.

    Args:
        pixels: (N, C, H, W) uint8.
        labels: (N,) where there are any.
        record: Name, content hash and split of the data.
        index: Their numbers in the data set.
        classes: Names of the classes.
    """

    pixels: Tensor
    labels: Tensor | None
    record: Mapping[str, Any]
    index: Sequence[int]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ToTune:
    """What is tuned, and on what.

    Args:
        source: The network with its normalisation.
        images: What it is tuned on.
        validation: Further images on which agreement, and where they have labels the accuracy, is measured; None for the same.
        seed: Decides all randomness.
        device: Where.
        processes: How many tune together.
        options: The command's options but the study's own, for the card.
    """

    source: FoundNetwork
    images: TuneImages
    validation: TuneImages | None
    seed: int
    device: torch.device
    processes: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> TuneImages:
        """What accuracy is measured on."""
        return self.validation or self.images
