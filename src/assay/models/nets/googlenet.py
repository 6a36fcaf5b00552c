"""The network of inception modules for small images: `GoogLeNet(width=0.25)`."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from assay.core.registry import check_at_least, check_positive, register
from assay.errors import SpecError
from assay.models.nets.architecture import Architecture
from assay.models.nets.building_blocks import convolution, he_start

__all__ = ["GoogLeNet", "Inception"]

_TABLE = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Table 1 of the paper: per module the channels of 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5 and the pooled branch."""
_STEM = 192


@register
class GoogLeNet(Architecture):
    """A 3x3 stem without pooling, then the paper's inception modules in three stages, with batch norm and halved between stages.

    Args:
        classes: Number of logits.
        width: Share of the paper's channels.
        modules: How many of the paper's modules each stage has: its first ones.
        stem_stride: Stride of the stem.
        channels: Channels of the images.
    """

    classes: int = 10
    width: float = 0.25
    modules: tuple[int, ...] = (1, 2, 2)
    stem_stride: int = 2
    channels: int = 3
    reference: ClassVar[str] = "Szegedy et al.: Going Deeper with Convolutions, CVPR 2015"

    def __post_init__(self) -> None:
        check_at_least(self, 2, "classes")
        check_at_least(self, 1, "stem_stride", "channels")
        check_positive(self, "width")
        if len(self.modules) != len(_TABLE) or any(not 1 <= count <= len(stage) for count, stage in zip(self.modules, _TABLE, strict=True)):
            raise SpecError(f"GoogLeNet: modules must be three numbers from (1, 1, 1) to {tuple(map(len, _TABLE))}, not {self.modules}")
        if min(_scaled(one, self.width) for stage in _TABLE for module in stage for one in module) < 1:
            raise SpecError(f"GoogLeNet: width {self.width!r} leaves a branch without channels; take at least {1 / 16:g}")

    def _net(self) -> nn.Module:
        entry = _scaled(_STEM, self.width)
        layers: list[nn.Module] = [convolution(self.channels, entry, 3, self.stem_stride)]
        for number, (stage, count) in enumerate(zip(_TABLE, self.modules, strict=True)):
            if number:
                layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            for module in stage[:count]:
                inception = Inception(entry, *(_scaled(one, self.width) for one in module))
                layers.append(inception)
                entry = inception.channels
        return he_start(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(entry, self.classes)))


class Inception(nn.Module):
    """Four branches side by side: 1x1, 3x3 and 5x5 convolutions, the last two after a 1x1, and a 1x1 after pooling."""

    def __init__(self, entry: int, one: int, before_three: int, three: int, before_five: int, five: int, pooled: int) -> None:
        super().__init__()
        self.one = convolution(entry, one, 1)
        self.three = nn.Sequential(convolution(entry, before_three, 1), convolution(before_three, three, 3))
        self.five = nn.Sequential(convolution(entry, before_five, 1), convolution(before_five, five, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), convolution(entry, pooled, 1))
        self.channels = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        """The branches' maps along the channels."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], dim=1)


def _scaled(channels: int, width: float) -> int:
    return int(channels * width)
