"""Where in a layer's output the grid over the image is, and how well what moves in it follows the patches that were moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["PATCHES", "STILL", "Layout", "could_lie"]

STILL = 1e-4
"""Features whose places differ by less than this share of their movement do not tell places apart."""
PATCHES = (((1 / 8, 3 / 8), (5 / 8, 7 / 8)), ((5 / 8, 7 / 8), (1 / 8, 3 / 8)))
"""Rows and columns of the two patches, as shares of the sides: what is right for rows is wrong for columns."""


@dataclass(frozen=True)
class Layout:
    """Where in a layer's output the grid over the image is.

    Attributes:
        axes: The output's axes of channels, rows and columns; or of channels and tokens.
        rows: Rows of the grid.
        columns: Its columns.
        prefix: Tokens that stand before those of the grid.
    """

    axes: tuple[int, ...]
    rows: int
    columns: int
    prefix: int = 0

    def fits(self, output: Any, count: int) -> bool:
        """Whether this is the layer's output for `count` images, and not what another of its runs gave."""
        if not could_lie(output, count) or output.ndim != len(self.axes) + 1:
            return False
        sides = [output.shape[axis] for axis in self.axes[1:]]
        return sides == [self.rows, self.columns] if len(sides) == 2 else sides[0] >= self.prefix + self.rows * self.columns

    def grid(self, output: Tensor) -> Tensor:
        """The output as features (n, C, h, w), without extra tokens."""
        ordered = output.permute(0, *self.axes)
        if output.ndim == 3:
            ordered = ordered[:, :, self.prefix : self.prefix + self.rows * self.columns]
        return ordered.reshape(*ordered.shape[:2], self.rows, self.columns)

    def follows(self, moved: Tensor) -> float:
        """How well movement lies where the image was changed, -1 to 1: by rows, by columns, and place by place, the worst.

        Args:
            moved: The output's shape without n: what one patch moved, less what the other did.
        """
        down, across = (_shares(count, at) for at, count in enumerate((self.rows, self.columns)))
        wanted = down[0][:, None] * across[0] - down[1][:, None] * across[1]
        found = self.grid(moved[None])[0].sum(0)
        if moved.ndim == 3:
            place = _correlation(wanted.flatten(), found.flatten())
        else:  # Extra tokens count as places where nothing should move.
            line = moved.sum(self.axes[0] - 1)
            whole = torch.zeros_like(line)
            whole[self.prefix : self.prefix + wanted.numel()] = wanted.flatten()
            place = _correlation(whole, line)
        sides = [_correlation(wanted.sum(1 - at), found.sum(1 - at)) for at in (0, 1) if wanted.shape[at] > 1]
        return min(place, *sides)


def could_lie(output: Any, count: int) -> bool:
    """Whether an output could hold features of `count` images: (count, C, H, W) in any order, or (count, tokens, C)."""
    return isinstance(output, Tensor) and output.is_floating_point() and output.ndim in (3, 4) and len(output) == count


def _shares(count: int, side: int) -> list[Tensor]:
    """How much of each of `count` cells lies in the two patches, along rows (side 0) or columns (1); float64."""
    edges = torch.arange(count + 1, dtype=torch.float64) / count
    return [(edges[1:].clamp_max(patch[side][1]) - edges[:-1].clamp_min(patch[side][0])).clamp_min(0.0) for patch in PATCHES]


def _correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's; 0 where either hardly varies."""
    one, other = (part.cpu() - part.cpu().mean() for part in (one, other))
    size = float(one.norm() * other.norm())
    return float(one @ other) / size if size > 0 and float(other.abs().max()) > STILL / other.numel() else 0.0
