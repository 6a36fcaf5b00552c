"""Networks whose Shapley values are known in closed form, and small ones that are trained here."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.bench.exam.candidates import Call, Candidate
from assay.core import noise
from assay.data import choose, read
from assay.data.base import Batch, Dataset
from assay.models.classifier import Classifier
from assay.models.nets.architecture import Architecture
from assay.models.training.training import channel_statistics

__all__ = ["Cells", "Colours", "Linear", "cell_values", "coloured", "exact_pixel_values", "fitted_network", "textures"]

SIDE, _GRID, _PATCH, _DECOYS = 32, 4, 8, 3
_RATE, _STEP = 3e-3, 64


class Linear(nn.Module):
    """Logits (N, K) that are weighted sums of pixels, by smooth random weights; the mean image gives no class."""

    def __init__(self, classes: int = 5, seed: int = 0) -> None:
        super().__init__()
        drawn = _drawn(seed, "linear", (classes, 3, 8, 8))
        weight = F.interpolate(drawn, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        self.weight = nn.Parameter(0.15 * (weight - weight.mean((1, 2, 3), keepdim=True)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return torch.einsum("kchw,nchw->nk", self.weight, x)


class Cells(nn.Module):
    """Logits that are sums over cells' mean values, less one half, and over products of two cells'."""

    def __init__(self, classes: int = 5, seed: int = 0) -> None:
        super().__init__()
        cells = _GRID**2
        self.alone = nn.Parameter(8 * _drawn(seed, "alone", (classes, cells)))
        pairs = _drawn(seed, "pairs", (classes, cells, cells))
        self.pairs = nn.Parameter(4 * torch.triu(pairs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        means = _means(x) - 0.5
        return means @ self.alone.T + torch.einsum("ni,kij,nj->nk", means, torch.triu(self.pairs, 1), means)


class Colours(nn.Module):
    """Logits that are sums over pixels of how much of the class's colour they have; grey has none of any."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        angle = 2 * torch.pi * torch.arange(classes)[:, None] / classes + 2 * torch.pi * torch.arange(3) / 3
        self.weight = nn.Parameter(0.3 * angle.cos())

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return torch.einsum("kc,nchw->nk", self.weight, x)


def exact_pixel_values() -> Candidate:
    """Exact Shapley values of pixels of `Linear` and `Colours` against black: each pixel's own addend."""

    def make(call: Call) -> Tensor:
        own = dict(call.model.module.named_parameters())["weight"][call.targets].detach()
        return (own if own.ndim == 4 else own[:, :, None, None]) * call.images

    return Candidate("exact Shapley values", make, right=True)


def cell_values() -> Candidate:
    """Exact Shapley values of cells of `Cells` against black.

    A cell of mean m, u = m - 1/2, is worth its own addend and, of each product with another cell's v, `m (v - 1/2) / 2`: the mean of what
    it adds while the other is black and while it is there.
    """

    def make(call: Call) -> Tensor:
        weights = {name: one.detach() for name, one in call.model.module.named_parameters()}
        means, pairs = _means(call.images), torch.triu(weights["pairs"], 1)[call.targets]
        both = torch.einsum("nij,nj->ni", pairs + pairs.transpose(1, 2), means - 1)
        values = means * (weights["alone"][call.targets] + 0.5 * both)
        return F.interpolate(values.view(-1, 1, _GRID, _GRID), size=call.images.shape[2:], mode="nearest")

    return Candidate("exact Shapley values", make, right=True)


def textures(count: int, seed: int) -> Batch:
    """Smooth random pictures of all colours, without labels."""
    index = torch.arange(count)
    drawn = noise.uniform(seed, "textures", index, torch.zeros_like(index), (3, 8, 8))
    images = F.interpolate(drawn, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return Batch(images, None, None, None, index, tuple(f"texture {number}" for number in range(count)))


def coloured(count: int, classes: int, seed: int) -> Batch:
    """Dark grey noise with one square of the colour of a class, which is the truth, and bright grey squares, all at random places.

    Grey squares are as plain to see, but of no class: what the image alone shows is not what the model goes by.
    """
    index = torch.arange(count)
    zero = torch.zeros_like(index)
    images = 0.2 * F.interpolate(
        noise.uniform(seed, "grey", index, zero, (1, 8, 8)), size=(SIDE, SIDE), mode="bilinear", align_corners=False
    ).expand(-1, 3, -1, -1)
    for copy in range(_DECOYS):
        drawn = noise.uniform(seed, "decoy", index, torch.full_like(index, copy), (3,))
        images = torch.where(_square(drawn), (0.6 + 0.4 * drawn[:, 2])[:, None, None, None], images)
    drawn = noise.uniform(seed, "square", index, zero, (3,))
    label, truth = (drawn[:, 2] * classes).long(), _square(drawn)
    colour = 0.6 + 0.4 * (2 * torch.pi * label[:, None] / classes + 2 * torch.pi * torch.arange(3) / 3).cos()
    images = torch.where(truth, colour[:, :, None, None], images)
    return Batch(images, label, truth, None, index, tuple(f"square {number}" for number in range(count)))


def _square(drawn: Tensor) -> Tensor:
    """(N, 1, SIDE, SIDE) whether pixels lie in a square whose place is given by the first two of numbers (N, 2 or more) in [0, 1)."""
    at = torch.arange(SIDE)
    starts = [(drawn[:, axis] * (SIDE - _PATCH + 1)).long()[:, None] for axis in range(2)]
    rows, columns = ((at >= start) & (at < start + _PATCH) for start in starts)
    return (rows[:, :, None] & columns[:, None])[:, None]


def fitted_network(shape: Architecture, data: Dataset, count: int, seed: int, epochs: int = 24) -> Classifier:
    """A network of that shape, trained for a minute or two on so many images of the data."""
    batch = read(data, choose(data, count, seed))
    assert batch.labels is not None
    mean, std = channel_statistics((255 * batch.images).round().to(torch.uint8))
    net = shape.make(seed).train()
    x = (batch.images - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=_RATE)
    for epoch in range(epochs):
        one = torch.tensor([epoch])
        order = noise.uniform(seed, "exam epoch", one, one, (len(x),))[0].argsort()
        for rows in order.split(_STEP):
            optimiser.zero_grad()
            F.cross_entropy(net(x[rows]), batch.labels[rows]).backward()
            optimiser.step()
    return Classifier(net.eval(), mean, std, classes=data.classes)


def _means(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images.mean(1, keepdim=True), _GRID).flatten(1)


def _drawn(seed: int, stream: str, shape: tuple[int, ...]) -> Tensor:
    rows = torch.zeros(1, dtype=torch.long)
    return noise.normal(seed, stream, rows, rows, shape)[0]
