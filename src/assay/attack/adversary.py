"""The adversary of adversarial training: projected gradient ascent of the loss, one step or many."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.attack.ball import Ball
from assay.core.registry import check_at_least, check_positive, register
from assay.models.adversary import Adversary, Loss
from assay.models.draws import Draws

__all__ = ["PGDTraining"]


@register
class PGDTraining(Adversary):
    """Moves every training image up the loss within a ball around it.

    Args:
        ball: How far, and in which norm: `LinfBall(eps=8/255)`, `L2Ball(eps=0.5)`.
        steps: Steps of ascent; each costs a forward and a backward pass.
        step: Length of a step in the ball's norm; None for 1.25 eps with one or two steps, and 2.5 eps / steps with more.
        start: Begin at a random point of the ball, which one step needs lest the network learns to hide its gradient.

    References: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018 (many steps); Wong,
    Rice, Kolter, Fast Is Better Than Free: Revisiting Adversarial Training, ICLR 2020 (one step).
    """

    ball: Ball
    steps: int = 1
    step: float | None = None
    start: bool = True

    def __post_init__(self) -> None:
        check_at_least(self, 1, "steps")
        check_positive(self, "step")

    def __call__(self, loss: Loss, pixels: Tensor, draws: Draws) -> Tensor:
        """See `Adversary`."""
        length = self.step if self.step is not None else 2.5 * self.ball.eps / max(self.steps, 2)
        images = pixels.contiguous()
        delta = self.ball.start(images, draws.normal(*images.shape[1:])) if self.start else torch.zeros_like(images)
        for _ in range(self.steps):
            moved = (images + delta).requires_grad_()
            gradient = torch.autograd.grad(loss(moved).sum(), moved)[0]
            delta = self.ball.project(delta + length * self.ball.steepest(gradient), images)
        return (images + delta).clamp(0, 1)
