"""Areas under curves of scores while pixels turn, from few cuts: equal ones, or more of them where the curve moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Curve", "Placing", "placed"]

Placing = Literal["moving", "equal"]
"""Where the cuts of a curve lie."""

_FIRST = 8
"""Equal parts, at the most, that a curve is looked at first by."""
_SHARE = 4
"""Of so many parts one is halved, two at least, between two looks."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores while pixels turn in a map's order, known at some cuts.

    Attributes:
        shares: (..., S + 1) ascending shares of the pixels that have turned, from 0 to 1.
        heights: (..., S + 1) the scores there.
    """

    shares: Tensor
    heights: Tensor

    @property
    def area(self) -> Tensor:
        """(...) the area by the trapezoid rule."""
        return torch.trapezoid(self.heights, self.shares)

    @property
    def error(self) -> Tensor:
        """(...) standard error of the area.

        A part of width w in which the curve moves by d is off by `w d / sqrt(12)`, be it one jump at an unknown place or a random walk.
        On networks and maps that it was tried on it was 1 to 5 times the true error.
        """
        return _doubt(self.shares, self.heights).square().sum(-1).div(12).sqrt()


def placed(pixels: int, steps: int, placing: Placing, heights: Callable[[Tensor], Tensor], like: Tensor) -> Curve:
    """A curve of `steps` parts, or of as many as there are pixels where these are fewer.

    "moving" begins with a few equal parts and halves those whose area is least sure, a quarter of them at a time.

    Args:
        pixels: How many turn.
        steps: Parts, and one more heights than them.
        placing: Where the cuts lie.
        heights: Gives the scores (..., s) at cuts (s,) or (..., s), numbers of pixels.
        like: (...) whose device and shape the curves have.
    """
    steps = min(steps, pixels)
    first = steps if placing == "equal" or steps == pixels else min(_FIRST, math.ceil(steps / 2))
    cuts = torch.linspace(0, pixels, first + 1, device=like.device).round().long()
    found = heights(cuts)
    cuts = cuts.expand(found.shape)
    while (parts := cuts.shape[-1] - 1) < steps:
        new = _halves(cuts, found, min(max(2, parts // _SHARE), steps - parts))
        cuts, order = torch.cat([cuts, new], -1).sort(dim=-1, stable=True)
        found = torch.cat([found, heights(new)], -1).gather(-1, order)
    return Curve(cuts / pixels, found)


def _halves(cuts: Tensor, heights: Tensor, count: int) -> Tensor:
    """(..., count) the middles of the parts whose area is least sure."""
    doubt = _doubt(cuts / cuts[..., -1:], heights).masked_fill(cuts.diff(dim=-1) < 2, -1.0)
    at = doubt.sort(dim=-1, descending=True, stable=True).indices[..., :count]
    return (cuts.gather(-1, at) + cuts.gather(-1, at + 1)) // 2


def _doubt(shares: Tensor, heights: Tensor) -> Tensor:
    """(..., S) how much of each part's area is open: its width times how far the curve may move in it.

    That is what its ends say, and as much again as a part of this width moves on a curve that moves everywhere alike; so a rough curve
    gets equal parts, and one that falls at once gets them where it falls.
    """
    width, moved = shares.diff(dim=-1), heights.diff(dim=-1).square()
    return width * (moved + width * moved.sum(-1, keepdim=True)).sqrt()
