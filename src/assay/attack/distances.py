"""Distances between two maps of one image: exact ones to judge by, and smooth stand-ins to climb on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.core.order import correlation, cosine, mean_ranks, membership, positive
from assay.core.registry import register
from assay.errors import SpecError

__all__ = ["L2", "SSIM", "CentreShift", "Cosine", "Distance", "Spearman", "TopK", "centres", "magnitude"]

_WINDOW, _SIGMA = 11, 1.5


class Distance(ABC):
    """How far apart maps are: 0 for equal ones, larger for more different ones. Maps are (N, C, H, W), signed."""

    bounded: ClassVar[bool]
    """Whether 1 means nothing in common, so that 1 - distance is a similarity."""

    @abstractmethod
    def __call__(self, clean: Tensor, moved: Tensor) -> Tensor:
        """Distances (N,), float32."""

    def smooth(self, clean: Tensor, moved: Tensor) -> Tensor:
        """A stand-in (N,) that can be differentiated in `moved` and grows as the distance does."""
        return self(clean, moved)


@register
class L2(Distance):
    """The Euclidean norm of the difference of the signed maps."""

    bounded: ClassVar[bool] = False

    def __call__(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Distance.__call__`."""
        norm: Tensor = (moved - clean).flatten(1).norm(dim=1)
        return norm

    def smooth(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Distance.smooth`: in units of the clean map's norm, so that what it is weighed against does not depend on its scale."""
        return self(clean, moved) / positive(clean.flatten(1).norm(dim=1))


@register
class Cosine(Distance):
    """1 - cosine of the signed maps, in [0, 2]."""

    bounded: ClassVar[bool] = True

    def __call__(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Distance.__call__`."""
        return 1 - cosine(clean.flatten(1), moved.flatten(1))


@register
class Spearman(Distance):
    """1 - rank correlation of the pixels, in [0, 2]; equal values share their mean rank.

    Args:
        signed: Rank pixels by the channels' sum; else by their summed magnitudes, so that a map and its negative are the same.
    """

    signed: bool = False
    bounded: ClassVar[bool] = True

    def __call__(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Distance.__call__`."""
        return 1 - correlation(mean_ranks(_pixels(clean, self.signed)), mean_ranks(_pixels(moved, self.signed)))

    def smooth(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Distance.smooth`: the moved map's ranks by a logistic curve through its values."""
        values = _pixels(moved, self.signed)
        centred = values - values.mean(1, keepdim=True)
        spread = positive(centred.norm(dim=1, keepdim=True)) / values.shape[1] ** 0.5
        return 1 - correlation(mean_ranks(_pixels(clean, self.signed)), (centred / spread).sigmoid())


@register
class TopK(Distance):
    """1 - the share that the maps' top pixels have in common, in [0, 1].

    Pixels of equal value that tie for the last places each hold their share of them; two maps have in common the smaller of a
    pixel's shares, so that a map has everything in common with itself.

    Args:
        fraction: Share of the pixels that counts as top.
        signed: Rank pixels by the channels' sum; else by their summed magnitudes.

    Source: Ghorbani, Abid, Zou, AAAI 2019.
    """

    fraction: float = 0.1
    signed: bool = False
    bounded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise SpecError(f"TopK: fraction must be in (0, 1), not {self.fraction!r}")

    def __call__(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Distance.__call__`."""
        one, other = (self._top(maps) for maps in (clean, moved))
        return 1 - torch.minimum(one, other).sum(1) / one.sum(1)

    def smooth(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Distance.smooth`: the share of the moved map's mass (its positive part where signed) outside the clean map's top."""
        values = _pixels(moved, self.signed).clamp_min(0)
        return 1 - (values * self._top(clean)).sum(1) / positive(values.sum(1))

    def _top(self, maps: Tensor) -> Tensor:
        values = _pixels(maps, self.signed)
        return membership(values, max(1, round(self.fraction * values.shape[1])))


@register
class SSIM(Distance):
    """1 - structural similarity of the magnitudes, each map scaled to a largest pixel of 1; in [0, 2].

    Source: Wang, Bovik, Sheikh, Simoncelli 2004, its Gaussian window of 11 pixels (less on smaller maps) and constants.
    """

    bounded: ClassVar[bool] = True

    def __call__(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Distance.__call__`."""
        height, width = clean.shape[2:]
        x, y = (_scaled(maps).view(-1, 1, height, width) for maps in (clean, moved))
        side = min(_WINDOW, *(side - 1 + side % 2 for side in (height, width)))
        places = torch.arange(side, device=x.device, dtype=x.dtype) - side // 2
        line = torch.exp(-(places**2) / (2 * _SIGMA**2))
        window = (line[:, None] * line).div_(line.sum() ** 2).view(1, 1, side, side)
        mean_x, mean_y, xx, yy, xy = (F.conv2d(part, window) for part in (x, y, x * x, y * y, x * y))
        cross, spread = xy - mean_x * mean_y, xx - mean_x**2 + yy - mean_y**2
        small, large = 0.01**2, 0.03**2
        near = (2 * mean_x * mean_y + small) * (2 * cross + large) / ((mean_x**2 + mean_y**2 + small) * (spread + large))
        return 1 - near.flatten(1).mean(1)


@register
class CentreShift(Distance):
    """How far the centre of mass of the magnitudes moves, in pixels."""

    bounded: ClassVar[bool] = False

    def __call__(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Distance.__call__`."""
        shift: Tensor = (centres(moved) - centres(clean)).norm(dim=1)
        return shift


def magnitude(maps: Tensor) -> Tensor:
    """One value per pixel (N, H * W): the sum of the channels' magnitudes."""
    return maps.abs().sum(1).flatten(1)


def _pixels(maps: Tensor, signed: bool) -> Tensor:
    return maps.sum(1).flatten(1) if signed else magnitude(maps)


def centres(maps: Tensor) -> Tensor:
    """Centres of mass of the magnitudes (N, 2), row and column; the middle for a map of zeros."""
    height, width = maps.shape[2:]
    values = magnitude(maps) + torch.finfo(maps.dtype).tiny
    rows = torch.arange(height, device=maps.device, dtype=maps.dtype).repeat_interleave(width)
    columns = torch.arange(width, device=maps.device, dtype=maps.dtype).repeat(height)
    return (values @ torch.stack([rows, columns], 1)) / values.sum(1, keepdim=True)


def _scaled(maps: Tensor) -> Tensor:
    values = magnitude(maps)
    return values / positive(values.amax(1, keepdim=True))
