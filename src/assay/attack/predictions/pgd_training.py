"""The adversary of adversarial training: projected gradient ascent of the loss, one step or many."""

from __future__ import annotations

from typing import ClassVar, get_args

import torch
from torch import Tensor

from assay.attack.ball import Norm, ball
from assay.core.registry import check_at_least, check_choice, check_positive, register
from assay.models.training.adversary import Adversary, LossOf
from assay.models.training.draws import Draws

__all__ = ["PGDTraining"]


@register
class PGDTraining(Adversary):
    """Moves every training image up the loss within a ball around it.

    Args:
        eps: Radius of the ball, in units of a [0, 1] pixel.
        norm: Norm of the ball: "linf", "l2" or "l1".
        steps: Steps of ascent; each costs a forward and a backward pass.
        step: Length of a step, as a share of eps; None for 2.5 / steps, at most 1.25.
        random_start: Begin at a random point of the ball, without which a network trained with one step learns to hide its gradient.
    """

    eps: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 1
    step: float | None = None
    random_start: bool = True
    reference: ClassVar[str] = (
        "Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018; with one step "
        "Wong, Rice, Kolter: Fast Is Better Than Free: Revisiting Adversarial Training, ICLR 2020"
    )

    def __post_init__(self) -> None:
        check_at_least(self, 0, "eps")
        check_at_least(self, 1, "steps")
        check_positive(self, "step")
        check_choice(self, "norm", get_args(Norm))

    def __call__(self, loss: LossOf, pixels: Tensor, draws: Draws) -> Tensor:
        """See `Adversary`."""
        area = ball(self.norm, self.eps)
        length = self.eps * (self.step if self.step is not None else min(1.25, 2.5 / self.steps))
        images = pixels.contiguous()
        delta = area.start(images, draws.normal(*images.shape[1:])) if self.random_start else torch.zeros_like(images)
        for _ in range(self.steps):
            moved = (images + delta).requires_grad_()
            gradient = torch.autograd.grad(loss(moved).sum(), moved)[0]
            delta = area.project(delta + length * area.steepest(gradient), images)
        return (images + delta).clamp(0, 1)
