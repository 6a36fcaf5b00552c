"""How an attack turns gradients into steps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from assay.attack.ball import Ball
from assay.core.registry import check_positive, register
from assay.errors import SpecError

__all__ = ["AdamAscent", "Optimiser", "SteepestAscent"]

Decay = Literal["constant", "linear", "cosine"]
Averages = dict[str, Tensor]


class Optimiser(ABC):
    """Base of all optimisers; steps are in units of the ball's radius."""

    @abstractmethod
    def change(self, ball: Ball, gradient: Tensor, memory: Averages, done: float) -> Tensor:
        """The change of the perturbation (N, ...), to be projected.

        Args:
            ball: Where perturbations live.
            gradient: (N, ...) of what is ascended.
            memory: What the optimiser keeps of an image from step to step, one row per image; empty at the first step.
            done: Share of the steps that are done, in [0, 1).
        """


@register
class SteepestAscent(Optimiser):
    """Steps along the norm's steepest direction: signs for Linf, the normalised gradient for L2, few large pixels for L1.

    Args:
        step: Length of the first step, as a share of eps.
        momentum: Share of the directions so far, each of mean magnitude 1, that is kept; 0 for none.
        decay: How the length falls to 0 over the attack.

    Source: Madry et al. 2018 (projected gradient); Dong et al. 2018 (momentum).
    """

    step: float = 0.2
    momentum: float = 0.5
    decay: Decay = "cosine"

    def __post_init__(self) -> None:
        check_positive(self, "step")
        _check_shares(self, "momentum")

    def change(self, ball: Ball, gradient: Tensor, memory: Averages, done: float) -> Tensor:
        """See `Optimiser.change`."""
        if self.momentum:
            mean = gradient.flatten(1).abs().mean(1).clamp_min(torch.finfo(gradient.dtype).tiny)
            gradient = gradient / mean.view(-1, *[1] * (gradient.ndim - 1))
            if "direction" in memory:
                gradient = gradient + self.momentum * memory["direction"]
            memory["direction"] = gradient
        return ball.eps * self.step * _left(self.decay, done) * ball.steepest(gradient)


@register
class AdamAscent(Optimiser):
    """Adam, each pixel on its own scale.

    Args:
        rate: Largest step of a pixel, as a share of eps in Linf; for other norms as a share of eps spread over all pixels.
        first: Decay of the mean gradient.
        second: Decay of its mean square.
        decay: How the rate falls to 0 over the attack.

    Source: Kingma, Ba 2015.
    """

    rate: float = 0.1
    first: float = 0.9
    second: float = 0.99
    decay: Decay = "cosine"

    def __post_init__(self) -> None:
        check_positive(self, "rate")
        _check_shares(self, "first", "second")

    def change(self, ball: Ball, gradient: Tensor, memory: Averages, done: float) -> Tensor:
        """See `Optimiser.change`."""
        if not memory:
            memory |= {"mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient), "steps": gradient.new_zeros(len(gradient))}
        memory["steps"] = memory["steps"] + 1
        memory["mean"] = self.first * memory["mean"] + (1 - self.first) * gradient
        memory["square"] = self.second * memory["square"] + (1 - self.second) * gradient.square()
        steps = memory["steps"].view(-1, *[1] * (gradient.ndim - 1))
        mean, square = memory["mean"] / (1 - self.first**steps), memory["square"] / (1 - self.second**steps)
        # A step of one unit in every pixel has this size in the ball's norm.
        unit = ball.size(torch.ones_like(gradient[:1])).item()
        return ball.eps / unit * self.rate * _left(self.decay, done) * mean / square.sqrt().clamp_min(torch.finfo(mean.dtype).tiny)


def _left(decay: Decay, done: float) -> float:
    """Share of the step length that is left."""
    if decay == "linear":
        return 1.0 - done
    return (1.0 + math.cos(math.pi * done)) / 2 if decay == "cosine" else 1.0


def _check_shares(obj: object, *names: str) -> None:
    for name in names:
        value = getattr(obj, name)
        if not 0 <= value < 1:
            raise SpecError(f"{type(obj).__name__}: {name} must be in [0, 1), not {value!r}")
