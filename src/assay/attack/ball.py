"""Balls of perturbations around an image: what an attack may change, pixels in [0, 1] included."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from assay.core.registry import check_at_least, register
from assay.errors import SpecError

__all__ = ["Ball", "L1Ball", "L2Ball", "LinfBall", "Norm", "ball"]

Norm = Literal["linf", "l2", "l1"]

_MOST, _CLOSE = 60, 1e-6
"""Steps to the nearest point of an L1 ball at the most, and how close to the radius they end, as a share of it."""


class Ball(ABC):
    """All perturbations of at most `eps` in one norm, in units of a [0, 1] pixel.

    Perturbations and gradients have shape (N, ...), the norm being taken over all but the first dimension.
    """

    eps: float

    @abstractmethod
    def start(self, images: Tensor, noise: Tensor) -> Tensor:
        """Random perturbations, uniform in the ball before pixels outside [0, 1] are cut off.

        Args:
            images: (N, ...), pixels in [0, 1].
            noise: Standard normal numbers of the same shape.
        """

    @abstractmethod
    def project(self, delta: Tensor, images: Tensor) -> Tensor:
        """The nearest perturbation (least squares) that is in the ball and keeps the pixels of `images + delta` in [0, 1]."""

    def stretch(self, delta: Tensor, images: Tensor) -> Tensor:
        """The perturbation lengthened to size `eps`, before pixels outside [0, 1] are cut off."""
        length = self.size(delta)
        return _in_range(delta * _spread(self.eps / length.clamp_min(_tiny(delta)), delta), images)

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """Ascent direction of size 1 in the ball's norm; 0 where the gradient is 0."""

    @abstractmethod
    def size(self, delta: Tensor) -> Tensor:
        """Norms (N,), float64."""

    def contains(self, delta: Tensor, tolerance: float = 1e-6) -> Tensor:
        """Which perturbations (N,) are in the ball; `tolerance` is absolute up to eps = 1 and relative above."""
        return self.size(delta) <= self.eps + tolerance * max(1.0, self.eps)


@register
class LinfBall(Ball):
    """Every pixel changes by at most `eps`."""

    eps: float

    def __post_init__(self) -> None:
        check_at_least(self, 0, "eps")

    def start(self, images: Tensor, noise: Tensor) -> Tensor:
        """See `Ball.start`."""
        return self.project(self.eps * _symmetric(noise), images)

    def project(self, delta: Tensor, images: Tensor) -> Tensor:
        """See `Ball.project`."""
        return _in_range(delta.clamp(-self.eps, self.eps), images)

    def stretch(self, delta: Tensor, images: Tensor) -> Tensor:
        """See `Ball.stretch`: every component to its sign times eps."""
        return _in_range(self.eps * delta.sign(), images)

    def steepest(self, gradient: Tensor) -> Tensor:
        """See `Ball.steepest`: the sign of every component."""
        return gradient.sign()

    def size(self, delta: Tensor) -> Tensor:
        """See `Ball.size`."""
        return delta.flatten(1).abs().amax(1).double()


@register
class L2Ball(Ball):
    """The Euclidean norm of the change is at most `eps`."""

    eps: float

    def __post_init__(self) -> None:
        check_at_least(self, 0, "eps")

    def start(self, images: Tensor, noise: Tensor) -> Tensor:
        """See `Ball.start`."""
        norm = self.size(noise)
        # Length and direction of normal noise are independent, so the length's distribution function gives the radius.
        level = torch.special.gammainc(torch.full_like(norm, _count(noise) / 2), norm**2 / 2)
        scale = self.eps * level ** (1 / _count(noise)) / norm.clamp_min(_tiny(noise))
        return _in_range(noise * _spread(scale, noise), images)

    def project(self, delta: Tensor, images: Tensor) -> Tensor:
        """See `Ball.project`."""
        # The nearest point is `t * delta` with pixels cut off, for the largest t <= 1 that leaves it in the ball. Each round
        # takes the pixels that are cut off as known, which gives a t that is larger than before and never too large.
        flat = delta.flatten(1)
        room = _room(delta, images).flatten(1)
        square, most, scale = flat.square(), room.square(), flat.new_zeros(len(flat), 1)
        moving = torch.ones_like(scale, dtype=torch.bool)
        while bool(moving.any()):
            cut = scale * flat.abs() >= room
            left = self.eps**2 - most.masked_fill(~cut, 0.0).sum(1, keepdim=True)
            free = square.masked_fill(cut, 0.0).sum(1, keepdim=True)
            better = (left.clamp_min(0.0) / free.clamp_min(_tiny(free))).sqrt().clamp_max(1.0)
            moving &= better > scale * (1 + 1e-6)
            scale = torch.where(moving, better, scale)
        return _in_range(delta * _spread(scale[:, 0], delta), images)

    def steepest(self, gradient: Tensor) -> Tensor:
        """See `Ball.steepest`: the gradient divided by its norm."""
        # Dividing by the largest component first keeps tiny gradients from vanishing in their squares.
        flat = gradient.flatten(1)
        flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(_tiny(flat))
        norm: Tensor = flat.norm(dim=1, keepdim=True)
        return (flat / norm.clamp_min(_tiny(flat))).view_as(gradient)

    def size(self, delta: Tensor) -> Tensor:
        """See `Ball.size`."""
        norm: Tensor = delta.flatten(1).double().norm(dim=1)
        return norm


@register
class L1Ball(Ball):
    """The pixels' changes sum to at most `eps`.

    Args:
        eps: Radius.
        share: Share of the components, those with the largest gradient, that `steepest` moves.

    Source: Tramer, Boneh, NeurIPS 2019 (sparse steps).
    """

    eps: float
    share: float = 0.01

    def __post_init__(self) -> None:
        check_at_least(self, 0, "eps")
        if not 0 < self.share <= 1:
            raise SpecError(f"L1Ball: share must be in (0, 1], not {self.share!r}")

    def start(self, images: Tensor, noise: Tensor) -> Tensor:
        """See `Ball.start`."""
        centred = _symmetric(noise)
        laplace = -centred.sign() * torch.log1p(-centred.abs().clamp_max(1 - 2**-24))
        norm = self.size(laplace)
        level = torch.special.gammainc(torch.full_like(norm, _count(noise)), norm)
        scale = self.eps * level ** (1 / _count(noise)) / norm.clamp_min(_tiny(noise))
        return _in_range(laplace * _spread(scale, noise), images)

    def project(self, delta: Tensor, images: Tensor) -> Tensor:
        """See `Ball.project`."""
        flat, room = delta.flatten(1).abs(), _room(delta, images).flatten(1)
        less = torch.minimum((flat - _taken_off(flat, room, self.eps)).clamp_min(0.0), room)
        # Rounding may leave a sum a little above the radius.
        total = less.sum(1, keepdim=True, dtype=torch.float64)
        less = torch.where(total > self.eps, less * (self.eps / total.clamp_min(self.eps) * (1 - 2**-22)), less.double()).to(flat.dtype)
        return _in_range(less.view_as(delta).copysign(delta), images)

    def steepest(self, gradient: Tensor) -> Tensor:
        """See `Ball.steepest`: the signs of the `share` of components with the largest gradients, divided by their number."""
        flat = gradient.flatten(1)
        many = math.ceil(self.share * flat.shape[1])
        chosen = flat.abs().topk(many, dim=1).indices
        return (torch.zeros_like(flat).scatter_(1, chosen, flat.gather(1, chosen).sign()) / many).view_as(gradient)

    def size(self, delta: Tensor) -> Tensor:
        """See `Ball.size`."""
        return delta.flatten(1).abs().sum(1, dtype=torch.float64)


def ball(norm: Norm, eps: float) -> Ball:
    """The ball of radius `eps` in the norm called "linf", "l2" or "l1"."""
    balls: dict[Norm, type[LinfBall] | type[L2Ball] | type[L1Ball]] = {"linf": LinfBall, "l2": L2Ball, "l1": L1Ball}
    return balls[norm](eps)


def _in_range(delta: Tensor, images: Tensor) -> Tensor:
    """The perturbation with every pixel that would leave [0, 1] cut off; no component grows, so no norm does."""
    return torch.minimum(torch.maximum(delta, -images), 1 - images)


def _taken_off(flat: Tensor, room: Tensor, eps: float) -> Tensor:
    """What the nearest point of an L1 ball takes off every component (N, 1), where each goes no further than its room.

    As more is taken off, the sum falls by as much for every component that is neither at its room nor at zero: Newton's steps, halving
    where one leads out of what is known, until the sum is the radius to a millionth.

    Args:
        flat: (N, P) magnitudes.
        room: (N, P) how large each may be.
        eps: The radius.
    """
    low, high = flat.new_zeros(len(flat), 1), flat.amax(1, keepdim=True)
    found = low
    for _ in range(_MOST):
        left = flat - found
        over = torch.minimum(left.clamp_min(0.0), room).sum(1, keepdim=True, dtype=torch.float64) - eps
        low, high = torch.where(over > 0, found, low), torch.where(over > 0, high, found)
        going = (over.abs() > _CLOSE * eps) & (high > low)
        if not bool(going.any()):
            break
        moving = ((left > 0) & (left < room)).sum(1, keepdim=True)
        step = (found + over / moving.clamp_min(1)).to(flat.dtype)
        inside = (moving > 0) & (step > low) & (step < high)
        found = torch.where(going, torch.where(inside, step, (low + high) / 2), found)
    return found


def _room(delta: Tensor, images: Tensor) -> Tensor:
    """How far each pixel can go the way of its change."""
    return torch.where(delta > 0, 1 - images, images)


def _symmetric(noise: Tensor) -> Tensor:
    """Normal numbers as uniform ones in (-1, 1)."""
    uniform: Tensor = torch.erf(noise / math.sqrt(2))
    return uniform


def _count(delta: Tensor) -> int:
    return math.prod(delta.shape[1:])


def _spread(scale: Tensor, like: Tensor) -> Tensor:
    """One number per image, shaped to multiply images."""
    return scale.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


def _tiny(like: Tensor) -> float:
    return float(torch.finfo(like.dtype).tiny)
