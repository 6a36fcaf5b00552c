"""The residual network for small images: `SmallResNet(widths=(64, 128, 256))`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from assay.core.registry import check_at_least, register
from assay.errors import SpecError
from assay.models.nets.architecture import Architecture

__all__ = ["ResidualNet", "SmallResNet"]


@register
class SmallResNet(Architecture):
    """A residual network for small images: 3x3 stem without pooling, stages of timm's basic blocks, average pooling.

    Args:
        classes: Number of logits.
        widths: Channels of each stage.
        blocks: Residual blocks of each stage.
        strides: Stride of the first block of each stage.
        stem: Channels of the stem.
        stem_stride: Stride of the stem.
        channels: Channels of the images.
    """

    classes: int = 10
    widths: tuple[int, ...] = (64, 128, 256)
    blocks: tuple[int, ...] = (1, 1, 1)
    strides: tuple[int, ...] = (2, 2, 2)
    stem: int = 32
    stem_stride: int = 1
    channels: int = 3
    reference: ClassVar[str] = "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016"

    def __post_init__(self) -> None:
        check_at_least(self, 2, "classes")
        check_at_least(self, 1, "stem", "stem_stride", "channels")
        if not len(self.widths) == len(self.blocks) == len(self.strides) > 0:
            raise SpecError(
                f"SmallResNet: widths, blocks and strides must have one number per stage, not {self.widths}, {self.blocks}, {self.strides}"
            )
        if min(*self.widths, *self.blocks, *self.strides) < 1:
            raise SpecError(f"SmallResNet: widths, blocks and strides must be at least 1, not {self.widths}, {self.blocks}, {self.strides}")

    def _net(self) -> nn.Module:
        return ResidualNet(self)


class ResidualNet(nn.Module):
    """The network of a `SmallResNet`: images (N, C, H, W), normalised, to logits (N, K)."""

    def __init__(self, shape: SmallResNet) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape.channels, shape.stem, 3, stride=shape.stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(shape.stem)
        self.act1 = nn.ReLU()
        entries = (shape.stem, *shape.widths[:-1])
        stages = zip(entries, shape.widths, shape.blocks, shape.strides, strict=True)
        self.stages = nn.Sequential(*(_stage(*stage) for stage in stages))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(shape.widths[-1], shape.classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K)."""
        x = self.stages(self.act1(self.bn1(self.conv1(x))))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def _stage(entry: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    from timm.models.resnet import BasicBlock, downsample_conv  # Here, because the import takes seconds.

    shortcut = downsample_conv(entry, width, kernel_size=1, stride=stride) if stride != 1 or entry != width else None
    first = BasicBlock(entry, width, stride=stride, downsample=shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1)))


def _initialise(net: nn.Module) -> None:
    """He initialisation; every residual branch starts at zero, so that the network starts shallow."""
    from timm.models.resnet import BasicBlock

    modules: Sequence[nn.Module] = list(net.modules())
    for module in modules:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in modules:
        if isinstance(module, BasicBlock):
            module.zero_init_last()
