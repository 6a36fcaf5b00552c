"""`SquareAttack`: random search on the prediction by scores alone, for networks whose gradients may mislead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from assay.attack.ball import Norm
from assay.attack.predictions.prediction import PredictionAttack, Quarry, check_ball
from assay.core import noise
from assay.core.registry import check_at_least, check_choice, register
from assay.errors import SpecError

__all__ = ["SquareAttack"]

_HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10,000 after which the squares' area is halved."""
_TILES, _SMALLEST = 5, 3


@register
class SquareAttack(PredictionAttack):
    """Puts one square after the other on the image and keeps those that help; it asks for scores and never for a gradient.

    Args:
        eps: Radius of the ball, in units of a [0, 1] pixel.
        norm: Norm of the ball: "linf" or "l2".
        queries: Squares that are tried, each a forward pass; one more makes the beginning.
        area: Share of the image that the first squares cover.

    Source: Andriushchenko, Croce, Flammarion, Hein, ECCV 2020, algorithms 1 to 3; the schedule of areas as in the authors' code.
    """

    eps: float = 8 / 255
    norm: Norm = "linf"
    queries: int = 1000
    area: float = 0.8
    reference: ClassVar[str] = "Andriushchenko, Croce, Flammarion, Hein: Square Attack, ECCV 2020"

    def __post_init__(self) -> None:
        check_ball(self)
        check_choice(self, "norm", ("linf", "l2"))
        check_at_least(self, 1, "queries")
        if not 0 < self.area <= 1:
            raise SpecError(f"SquareAttack: area must be in (0, 1], not {self.area!r}")

    def search(self, quarry: Quarry) -> None:
        """See `PredictionAttack.search`."""
        todo = quarry.todo
        if not len(todo):
            return
        begin, paint = (_stripes, _recolour) if self.norm == "linf" else (_tiles, _move_mass)
        delta = torch.zeros_like(quarry.images)
        best = torch.zeros(len(delta), device=delta.device)
        for query in range(-1, self.queries):
            todo = quarry.todo
            if not len(todo):
                return
            images, share = quarry.images[todo], area(self.area, query, self.queries)
            tried = begin(quarry, todo) if query < 0 else paint(quarry, todo, delta[todo], share, query)
            tried = quarry.ball.project(tried, images)
            logits = quarry.model.unchecked_logits(images + tried)
            losses = quarry.losses("margin", logits, todo)
            quarry.keep(todo, images + tried, logits)
            quarry.climbed[todo] |= ~quarry.right[todo] | ((losses != best[todo]) & (query >= 0))
            better = (losses > best[todo]) | (query < 0)
            best[todo[better]], delta[todo[better]] = losses[better], tried[better]


def area(first: float, query: int, queries: int) -> float:
    """Share of the image that a square covers."""
    return float(first / 2 ** sum(int(query / queries * 10000) > one for one in _HALVED))


def _stripes(quarry: Quarry, rows: Tensor) -> Tensor:
    """Vertical stripes (n, C, H, W), each of one colour of size eps."""
    channels, height, width = quarry.images.shape[1:]
    return quarry.ball.eps * _signs(quarry, rows, "Square start", 0, (channels, 1, width)).expand(-1, -1, height, -1)


def _recolour(quarry: Quarry, rows: Tensor, delta: Tensor, share: float, query: int) -> Tensor:
    """The perturbation with a square of one colour of size eps in a random place."""
    channels, height, width = delta.shape[1:]
    side = max(1, min(height, width, round(math.sqrt(share * height * width))))
    colours = quarry.ball.eps * _signs(quarry, rows, "Square colours", query, (channels, 1, 1))
    made = delta.clone()
    made[_window(quarry, rows, "Square", query, side)] = colours.expand(-1, -1, side, side)
    return made


def _tiles(quarry: Quarry, rows: Tensor) -> Tensor:
    """Bumps of both signs side by side, of length eps together."""
    channels, height, width = quarry.images.shape[1:]
    side = min(height, width, max(2, min(height, width) // _TILES))
    down, across = height // side, width // side
    top, left = (height - down * side) // 2, (width - across * side) // 2
    signs = _signs(quarry, rows, "Square start", 0, (channels + 1, down, across))
    bump = _bump(side).to(signs)
    turned = torch.where(signs[:, -1, :, :, None, None] > 0, bump, bump.T)
    tiles = signs[:, :-1, :, :, None, None] * turned[:, None]
    made = torch.zeros_like(quarry.images[rows])
    made[:, :, top : top + down * side, left : left + across * side] = tiles.transpose(3, 4).flatten(2, 3).flatten(3, 4)
    return quarry.ball.stretch(made, quarry.images[rows])


def _move_mass(quarry: Quarry, rows: Tensor, delta: Tensor, share: float, query: int) -> Tensor:
    """The perturbation with what is in one window, and what of eps is left, put into another as a bump beside what is there."""
    channels, height, width = delta.shape[1:]
    least = min(height, width)
    side = max(_SMALLEST, round(math.sqrt(share * height * width)))
    side = max(1, min(side + (side + 1) % 2, least - (least + 1) % 2))
    into, out = (_window(quarry, rows, name, query, side) for name in ("Square", "Square second"))
    left = (quarry.ball.eps**2 - delta.square().sum((1, 2, 3), keepdim=True)).clamp_min(0.0) / channels
    both = torch.zeros_like(delta)
    both[into], both[out] = delta[into], delta[out]
    room = (both.square().sum((2, 3), keepdim=True) + left).sqrt()
    signs = _signs(quarry, rows, "Square colours", query, (channels + 1, 1, 1))
    bump = _bump(side).to(signs)
    fresh = signs[:, :-1] * torch.where(signs[:, -1:] > 0, bump, bump.T) + _unit(delta[into])
    made = delta.clone()
    made[out] = 0.0
    made[into] = _unit(fresh) * room
    return quarry.ball.stretch(made, quarry.images[rows])


def _bump(side: int) -> Tensor:
    """Two opposite hills (side, side) of length 1, one above the other."""
    if side < 2:
        return torch.ones(side, side)
    upper = _hill(side // 2, side)
    return _unit(torch.cat([upper, -_hill(side - side // 2, side)]))


def _hill(height: int, width: int) -> Tensor:
    """Nested rectangles (height, width) of length 1 around the middle, the k-th adding 1 / k^2."""
    middle, centre = height // 2, width // 2
    rows, columns = ((torch.arange(length) - at).abs() for length, at in ((height, middle), (width, centre)))
    ring = torch.maximum(rows[:, None], columns)
    heights = 1.0 / torch.arange(1, max(middle, centre) + 2) ** 2
    # A place is within the k-th rectangle and all larger ones.
    made = heights.flip(0).cumsum(0).flip(0)[ring.clamp_max(max(middle, centre))] * (ring <= max(middle, centre))
    return _unit(made)


def _unit(values: Tensor) -> Tensor:
    """Each window (..., h, w) divided by its norm."""
    return values / values.square().sum((-2, -1), keepdim=True).sqrt().clamp_min(torch.finfo(values.dtype).tiny)


def _window(quarry: Quarry, rows: Tensor, stream: str, query: int, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What picks a square of `side` in a random place of (n, C, H, W), another for each image."""
    channels, height, width = quarry.images.shape[1:]
    numbers = noise.uniform(quarry.seed, stream, quarry.index[rows], torch.full_like(rows, query), (2,))
    inside = torch.arange(side, device=rows.device)
    top, left = ((numbers[:, at] * (length - side + 1)).long()[:, None] + inside for at, length in ((0, height), (1, width)))
    image, channel = torch.arange(len(rows), device=rows.device), torch.arange(channels, device=rows.device)
    return image[:, None, None, None], channel[:, None, None], top[:, None, :, None], left[:, None, None, :]


def _signs(quarry: Quarry, rows: Tensor, stream: str, query: int, shape: Sequence[int]) -> Tensor:
    """Random signs (n, *shape)."""
    drawn = noise.uniform(quarry.seed, stream, quarry.index[rows], torch.full_like(rows, query), tuple(shape))
    return torch.where(drawn < 0.5, -1.0, 1.0)
