"""The plain stack of convolutions for small images: `VGG(widths=(64, 128, 256, 512, 512))`."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from assay.core.registry import check_at_least, register
from assay.errors import SpecError
from assay.models.nets.architecture import Architecture
from assay.models.nets.building_blocks import convolution, he_start

__all__ = ["VGG"]


@register
class VGG(Architecture):
    """Stages of 3x3 convolutions with batch norm, each halved by max pooling; the mean over the last map goes to one linear layer.

    Args:
        classes: Number of logits.
        widths: Channels of each stage.
        convolutions: Convolutions of each stage.
        channels: Channels of the images.
    """

    classes: int = 10
    widths: tuple[int, ...] = (32, 64, 128, 128)
    convolutions: tuple[int, ...] = (1, 1, 2, 2)
    channels: int = 3
    reference: ClassVar[str] = "Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015"

    def __post_init__(self) -> None:
        check_at_least(self, 2, "classes")
        check_at_least(self, 1, "channels")
        if not len(self.widths) == len(self.convolutions) > 0 or min(*self.widths, *self.convolutions) < 1:
            raise SpecError(
                f"VGG: widths and convolutions must have one number from 1 up per stage, not {self.widths}, {self.convolutions}"
            )

    def _net(self) -> nn.Module:
        layers: list[nn.Module] = []
        entry = self.channels
        for width, count in zip(self.widths, self.convolutions, strict=True):
            for _ in range(count):
                layers.append(convolution(entry, width, 3))
                entry = width
            layers.append(nn.MaxPool2d(2))
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(entry, self.classes))
        return he_start(net)
