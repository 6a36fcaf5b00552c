"""Small networks with weights that depend on a seed alone."""

import torch
from torch import nn
from torch.nn import functional as F


def seeded(make, seed=0):
    """`make()` with weights that depend on `seed` alone; the global generator is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def plain(activation=nn.ReLU, channels=3, classes=4, gain=3.0, seed=0, size=8):
    """Two convolutions and a linear layer, no batch norm; `gain` makes the logits vary a lot over images."""

    def make():
        net = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1),
            activation(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            activation(),
            nn.Flatten(),
            nn.Linear(8 * (size // 2) ** 2, classes),
        )
        with torch.no_grad():
            for module in net:
                if hasattr(module, "weight"):
                    module.weight.mul_(gain)
        return net.eval()

    return seeded(make, seed)


def scramble_norms(net, seed=0):
    """Give every batch norm statistics and weights that are far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for tensor in (module.running_mean, module.weight, module.bias):
                    if tensor is not None:
                        tensor.copy_(torch.randn(tensor.shape, generator=generator))
                if module.running_var is not None:
                    module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) * 2 + 0.1)
    return net


def normed(seed=0, classes=4):
    """Two convolutions with batch norm, then a linear layer, in train mode."""

    def make():
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, classes),
        )

    return scramble_norms(seeded(make, seed), seed)


def tokens(size=(9, 9), patch=3, channels=3, classes=4):
    """A vision transformer whose attention is far from even and whose logits vary over images."""
    from timm.models.vision_transformer import VisionTransformer

    def make():
        net = VisionTransformer(size, patch, channels, classes, embed_dim=8, depth=2, num_heads=2)
        for block in net.blocks:
            block.attn.qkv.weight.data.mul_(30)
        net.head.weight.data.mul_(100)
        return net.eval()

    return seeded(make)


class Function(nn.Module):
    """A scalar function of the flattened pixels as class 0; class 1 is constant, so that it is known exactly."""

    def __init__(self, function, other=0.0):
        super().__init__()
        self.function, self.other = function, other

    def forward(self, x):
        score = self.function(x.flatten(1))
        return torch.stack([score, torch.full_like(score, self.other)], 1)


def linear(weight, bias=0.0):
    """Class 0 is `weight . x + bias`, class 1 is 0."""
    return Function(lambda x: x @ weight + bias)


class Relus(nn.Module):
    """One function written in the ways of using a ReLU that peers are known to stumble over."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Linear(6, 3)
        self.relu = nn.ReLU(inplace=kind == "in-place")
        self.other = nn.ReLU()
        if kind == "shared":
            self.other = self.relu

    def forward(self, x):
        if self.kind == "functional":
            x = F.relu(self.second(F.relu(self.first(x))))
        elif self.kind == "functional in-place":
            x = torch.relu_(self.second(F.relu(self.first(x), inplace=True)))
        elif self.kind in ("reused", "in-place"):
            x = self.relu(self.second(self.relu(self.first(x))))
        else:
            x = self.other(self.second(self.relu(self.first(x))))
        return self.last(x.mean((2, 3)) * 10)
