"""`APGD`: gradient ascent on the prediction that finds its own step size."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor

from assay.attack.ball import Ball, Norm
from assay.attack.predictions.prediction import PredictionAttack, Quarry, check_ball
from assay.core import noise
from assay.core.registry import check_at_least, check_choice, register
from assay.errors import SpecError

__all__ = ["APGD"]

_ALPHA = 0.75
"""Share of a step that is the gradient's; the rest is the step before."""
_FIRST, _SHORTER, _SHORTEST = 0.22, 0.03, 0.06
"""When the step size is looked at, as shares of all steps: the first time, how much sooner each time, and the shortest wait."""


@register
class APGD(PredictionAttack):
    """Projected ascent with momentum, whose step begins at twice the radius and is halved where the loss stops rising.

    It then goes on from the best point so far. Outcomes do not depend on the scale of the logits.

    Args:
        eps: Radius of the ball, in units of a [0, 1] pixel.
        norm: Norm of the ball: "linf" or "l2".
        steps: Steps of each restart; each costs a forward and a backward pass.
        restarts: Starting points, every second one opposite to the one before.
        loss: What is climbed: the lead of the best other class ("margin"), that lead over how far the largest logit is above the third
            ("dlr"; the margin where there are fewer than three classes), or the "cross_entropy".
        rho: Share of the steps between two looks in which the loss must rise for the step size to stay.

    Source: Croce, Hein, ICML 2020, algorithm 1.
    """

    eps: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 100
    restarts: int = 1
    loss: Literal["margin", "dlr", "cross_entropy"] = "margin"
    rho: float = 0.75
    reference: ClassVar[str] = (
        "Croce, Hein: Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-Free Attacks, ICML 2020"
    )

    def __post_init__(self) -> None:
        check_ball(self)
        check_at_least(self, 1, "steps", "restarts")
        check_choice(self, "norm", ("linf", "l2"))
        check_choice(self, "loss", ("margin", "dlr", "cross_entropy"))
        if not 0 < self.rho <= 1:
            raise SpecError(f"APGD: rho must be in (0, 1], not {self.rho!r}")

    def search(self, quarry: Quarry) -> None:
        """See `PredictionAttack.search`."""
        looks = checkpoints(self.steps)
        for restart in range(self.restarts):
            todo = quarry.todo
            if not len(todo):
                return
            images = quarry.images[todo]
            drawn = noise.normal(quarry.seed, "APGD", quarry.index[todo], torch.full_like(todo, restart // 2), tuple(images.shape[1:]))
            start = images + quarry.ball.start(images, drawn if restart % 2 == 0 else -drawn)
            loss, slope = quarry.gradient(self.loss, start, todo)
            step = torch.full_like(loss, 2 * self.eps)
            here = _Climb(todo, images, start, start, slope, loss, start, slope, loss, step, step, loss, torch.zeros_like(loss))
            self._ascend(quarry, here, looks)

    def _ascend(self, quarry: Quarry, here: _Climb, looks: set[int]) -> None:
        last = 0
        for done in range(self.steps):
            here = here.only(quarry.right[here.rows])
            if not len(here.rows):
                return
            pixels = here.moved(quarry.ball, 1.0 if done == 0 else _ALPHA)
            if done == self.steps - 1:
                quarry.keep(here.rows, pixels, quarry.model.unchecked_logits(pixels))
                return
            loss, slope = quarry.gradient(self.loss, pixels, here.rows)
            here.arrive(pixels, loss, slope, self.rho * (done - last) if done in looks else None)
            last = done if done in looks else last


@dataclass
class _Climb:
    """Where the ascent stands, a row per image.

    Attributes:
        rows: The images' places.
        images: Clean.
        here: Pixels now; `before` the step before.
        slope: The loss's gradient there, and `loss` itself.
        best: Pixels of the largest loss so far; `best_slope` and `best_loss` theirs.
        step: Its length; `step_seen` at the look before.
        loss_seen: The best loss at the look before.
        rises: Steps since then in which the loss rose.
    """

    rows: Tensor
    images: Tensor
    here: Tensor
    before: Tensor
    slope: Tensor
    loss: Tensor
    best: Tensor
    best_slope: Tensor
    best_loss: Tensor
    step: Tensor
    step_seen: Tensor
    loss_seen: Tensor
    rises: Tensor

    def only(self, going: Tensor) -> _Climb:
        """The rows that go on."""
        return self if bool(going.all()) else _Climb(*(getattr(self, one.name)[going] for one in fields(self)))

    def moved(self, ball: Ball, share: float) -> Tensor:
        """The next pixels: a step up, taken in part, and the rest of the step before."""
        delta, before = self.here - self.images, self.before - self.images
        up = ball.project(delta + _wide(self.step) * ball.steepest(self.slope.nan_to_num(0.0, 0.0, 0.0)), self.images)
        return self.images + ball.project(delta + share * (up - delta) + (1 - share) * (delta - before), self.images)

    def arrive(self, pixels: Tensor, loss: Tensor, slope: Tensor, least: float | None) -> None:
        """Take the next pixels, and where a look says so the best ones and half the step.

        Args:
            pixels: (n, C, H, W).
            loss: (n,).
            slope: (n, C, H, W).
            least: Rises since the last look below which the step was too long; None where there is no look now.
        """
        better = loss > self.best_loss
        self.best, self.best_slope = (torch.where(_wide(better), new, old) for new, old in ((pixels, self.best), (slope, self.best_slope)))
        self.best_loss = torch.where(better, loss, self.best_loss)
        rose = (loss > self.loss).to(loss.dtype)
        self.before, self.here, self.slope, self.loss = self.here, pixels, slope, loss
        if least is None:
            self.rises = self.rises + rose
            return
        halve = (self.rises < least) | ((self.step == self.step_seen) & (self.best_loss == self.loss_seen))
        self.step_seen, self.loss_seen, self.rises = self.step, self.best_loss, rose
        self.step = torch.where(halve, self.step / 2, self.step)
        self.here, self.slope = (
            torch.where(_wide(halve), new, old) for new, old in ((self.best, self.here), (self.best_slope, self.slope))
        )
        self.loss = torch.where(halve, self.best_loss, self.loss)


def checkpoints(steps: int) -> set[int]:
    """After how many steps the step size is looked at."""
    found, share, wait = set(), 0.0, _FIRST
    while share + wait <= 1:
        share += wait
        found.add(math.ceil(share * steps - 1e-9))
        wait = max(wait - _SHORTER, _SHORTEST)
    return found


def _wide(values: Tensor) -> Tensor:
    """One value per image, shaped to go with images."""
    return values.view(-1, 1, 1, 1)
