"""The one loop of all attacks: projected ascent, image by image independent."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from assay.attack.ball import Ball
from assay.attack.optimiser import Averages, Optimiser

__all__ = ["Climb", "WatchStep", "ascend"]

Climb = Callable[[Tensor, Tensor, int], Tensor]
"""Gradient (n, C, H, W) at pixels (n, C, H, W) of the images numbered rows (n,), at a step."""
WatchStep = Callable[[Tensor, Tensor, int], Tensor | None]
"""Called with rows (n,), their pixels and the steps done; says which rows (n,) bool go on, all when None."""


def ascend(images: Tensor, start: Tensor, ball: Ball, optimiser: Optimiser, steps: int, climb: Climb, look: WatchStep) -> None:
    """Climb from `start` within the ball around each image; results are what `look` keeps of what it is shown.

    Args:
        images: (N, C, H, W), pixels in [0, 1].
        start: (N, C, H, W) perturbations to begin with.
        ball: Where perturbations live.
        optimiser: Turns gradients into steps.
        steps: How many.
        climb: Gives the gradients; a component that is not finite counts as 0.
        look: Sees the iterate after every step.
    """
    rows = torch.arange(len(images), device=images.device)
    here, delta, memory = images, start, Averages()
    for step in range(steps):
        pixels = here + delta
        gradient = climb(pixels, rows, step).nan_to_num(0.0, 0.0, 0.0)
        # A pixel at the end of its range cannot follow its gradient, and must not take part of the step.
        stuck = ((pixels <= 0) & (gradient < 0)) | ((pixels >= 1) & (gradient > 0))
        change = optimiser.change(ball, gradient.masked_fill_(stuck, 0.0), memory, step / steps)
        delta = ball.project(delta + change, here)
        going = look(rows, here + delta, step + 1)
        if going is None or bool(going.all()):
            continue
        rows, here, delta = rows[going], here[going], delta[going]
        memory = {name: kept[going] for name, kept in memory.items()}
        if not len(rows):
            return
