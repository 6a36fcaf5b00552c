"""The residual network for small images: `SmallResNet(widths=(64, 128, 256))`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from assay.core.registry import check_at_least, check_choice, register
from assay.errors import SpecError
from assay.models.nets.architecture import Architecture

__all__ = ["ResidualNet", "SmallResNet"]


@register
class SmallResNet(Architecture):
    """A residual network for small images: 3x3 stem without pooling, stages of residual blocks, average pooling.

    Args:
        classes: Number of logits.
        widths: Channels of each stage.
        blocks: Residual blocks of each stage.
        strides: Stride of the first block of each stage.
        stem: Channels of the stem.
        stem_stride: Stride of the stem.
        channels: Channels of the images.
        block: "basic", two 3x3 convolutions, or "bottleneck": 1x1, 3x3 and 1x1, the last four times as wide as the stage's width.
    """

    classes: int = 10
    widths: tuple[int, ...] = (64, 128, 256)
    blocks: tuple[int, ...] = (1, 1, 1)
    strides: tuple[int, ...] = (2, 2, 2)
    stem: int = 32
    stem_stride: int = 1
    channels: int = 3
    block: Literal["basic", "bottleneck"] = "basic"
    reference: ClassVar[str] = "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016"

    def __post_init__(self) -> None:
        check_at_least(self, 2, "classes")
        check_at_least(self, 1, "stem", "stem_stride", "channels")
        check_choice(self, "block", ("basic", "bottleneck"))
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
        block = BasicBlock if shape.block == "basic" else Bottleneck
        self.conv1 = nn.Conv2d(shape.channels, shape.stem, 3, stride=shape.stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(shape.stem)
        self.act1 = nn.ReLU()
        entries = (shape.stem, *(block.expansion * width for width in shape.widths))
        stages = zip(entries, shape.widths, shape.blocks, shape.strides, strict=False)
        self.stages = nn.Sequential(*(_stage(block, *stage) for stage in stages))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(entries[-1], shape.classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K)."""
        x = self.stages(self.act1(self.bn1(self.conv1(x))))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, the first with the stride, beside a shortcut; its parts are named as timm names them."""

    expansion: ClassVar[int] = 1

    def __init__(self, entry: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entry, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = nn.ReLU()
        self.downsample = _shortcut(entry, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, width, H / stride, W / stride)."""
        branch = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        features: Tensor = self.act2(branch + (x if self.downsample is None else self.downsample(x)))
        return features


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions, the last four times as wide, beside a shortcut; named as in timm."""

    expansion: ClassVar[int] = 4

    def __init__(self, entry: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entry, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.act3 = nn.ReLU()
        self.downsample = _shortcut(entry, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, 4 * width, H / stride, W / stride)."""
        branch = self.bn3(self.conv3(self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))))))
        features: Tensor = self.act3(branch + (x if self.downsample is None else self.downsample(x)))
        return features


def _shortcut(entry: int, out: int, stride: int) -> nn.Sequential | None:
    """What makes the block's input as large as its output, where it is not."""
    if stride == 1 and entry == out:
        return None
    return nn.Sequential(nn.Conv2d(entry, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))


def _stage(block: type[BasicBlock | Bottleneck], entry: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(block(entry, width, stride), *(block(block.expansion * width, width) for _ in range(blocks - 1)))


def _initialise(net: nn.Module) -> None:
    """He initialisation; every residual branch starts at zero, so that the network starts shallow."""
    modules: Sequence[nn.Module] = list(net.modules())
    for module in modules:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in modules:
        if isinstance(module, BasicBlock | Bottleneck):
            nn.init.zeros_((module.bn2 if isinstance(module, BasicBlock) else module.bn3).weight)
