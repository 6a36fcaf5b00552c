"""What several networks are made of."""

from __future__ import annotations

from torch import nn

__all__ = ["convolution", "he_start"]


def convolution(entry: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the map's size (but for the stride), batch norm and ReLU."""
    return nn.Sequential(nn.Conv2d(entry, width, kernel, stride=stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def he_start(net: nn.Module) -> nn.Module:
    """The network, its convolutions initialised after He et al. 2015."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net
