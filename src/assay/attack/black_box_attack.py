"""`BlackBoxMapAttack`: attacks that only look at maps and predictions, for explainers without derivatives."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from assay.attack.ascent import ascend
from assay.attack.ball import Ball, LinfBall, Norm
from assay.attack.base import Attack, check_common
from assay.attack.goals import Goal, PushOutTopK
from assay.attack.judge import Judge, Scene, Seen
from assay.attack.optimiser import Optimiser, SteepestAscent
from assay.core import noise
from assay.core.registry import check_at_least, check_positive, register

__all__ = ["BlackBoxMapAttack"]

_AREA = 0.2
"""Share of the image that the first square covers."""


@register
class BlackBoxMapAttack(Attack):
    """Search by maps and predictions alone, for any explainer, callables included.

    Args:
        eps: Radius of the ball, in units of a [0, 1] pixel.
        norm: Norm of the ball.
        steps: Steps of each restart.
        goal: What is climbed and reached.
        method: "differences" climbs a gradient estimated from pairs of opposite random changes; "squares" puts a random square of
            one colour at a time on the perturbation and keeps what helps.
        pairs: Pairs of opposite changes per step of "differences"; each costs two maps and two forward passes.
        probe: Length of those changes, as a share of eps.
        optimiser: Turns estimated gradients into steps.
        restarts: Random starting points.
        keep_class: Whether the predicted class must stay.
        tolerance: How far its probability may move; None for anywhere.
        margin: Lead of the predicted class's logit, in units of the clean logits' spread, below which it is defended.
        weight: Weight of that defence against the goal.
        stop: Value of the goal at which an image is left alone; None to go on.

    Source: Ilyas et al., ICML 2018 (antithetic differences); Andriushchenko et al., ECCV 2020 (squares).
    """

    eps: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 50
    goal: Goal = PushOutTopK()
    method: Literal["differences", "squares"] = "squares"
    pairs: int = 4
    probe: float = 0.1
    optimiser: Optimiser = SteepestAscent(momentum=0.9)
    restarts: int = 1
    keep_class: bool = True
    tolerance: float | None = None
    margin: float = 0.25
    weight: float = 1.0
    stop: float | None = None
    reference: ClassVar[str] = "Andriushchenko, Croce, Flammarion, Hein: Square Attack, ECCV 2020"
    pitfalls: ClassVar[str] = "Weak among many pixels; what it does not find may still be there."
    takes: ClassVar[str] = (
        "a map and a forward pass per step, per restart and for the clean image; 2 `pairs` of them more per step of differences, "
        "which have none per restart"
    )

    def __post_init__(self) -> None:
        check_common(self)
        check_at_least(self, 1, "steps", "pairs", "restarts")
        check_at_least(self, 0, "margin", "weight")
        check_positive(self, "probe")

    def search(self, scene: Scene, judge: Judge) -> None:
        """See `Attack.search`."""
        for restart in range(self.restarts):
            (self._squares if self.method == "squares" else self._differences)(scene, judge, restart)

    def _differences(self, scene: Scene, judge: Judge, restart: int) -> None:
        def worth(pixels: Tensor, rows: Tensor) -> Tensor:
            pixels = pixels.clamp(0.0, 1.0)
            return scene.worth(Seen(scene.explain(pixels, rows), scene.case.model.unchecked_logits(pixels)), rows, self.margin, self.weight)

        def climb(pixels: Tensor, rows: Tensor, step: int) -> Tensor:
            found = torch.zeros_like(pixels)
            for pair in range(self.pairs):
                number = torch.full_like(rows, (restart * self.steps + step) * self.pairs + pair)
                way = noise.normal(scene.case.seed, "BlackBoxMapAttack", scene.case.index[rows], number, tuple(pixels.shape[1:]))
                probe = way * (self.probe * scene.ball.eps / scene.ball.size(way)).float().view(-1, 1, 1, 1)
                found += (worth(pixels + probe, rows) - worth(pixels - probe, rows)).view(-1, 1, 1, 1) * way
            return found

        def look(rows: Tensor, pixels: Tensor, _done: int) -> Tensor | None:
            judge.consider(rows, pixels)
            return judge.short(rows, self.stop)

        start = scene.start("BlackBoxMapAttack", restart)
        ascend(scene.case.images, start, scene.ball, self.optimiser, self.steps, climb, look)

    def _squares(self, scene: Scene, judge: Judge, restart: int) -> None:
        rows = torch.arange(len(scene.case.images), device=scene.case.images.device)
        delta = scene.ball.stretch(scene.start("BlackBoxMapAttack", restart), scene.case.images)
        best = scene.worth(judge.consider(rows, scene.case.images + delta), rows, self.margin, self.weight)
        for step in range(self.steps):
            going = judge.short(rows, self.stop)
            rows = rows if going is None else rows[going]
            if not len(rows):
                return
            number = torch.full_like(rows, restart * self.steps + step)
            stroke = _square(
                noise.uniform(scene.case.seed, "squares", scene.case.index[rows], number, (2 + delta.shape[1],)), delta, step / self.steps
            )
            tried = _paint(scene.ball, delta[rows], stroke, scene.case.images[rows])
            worth = scene.worth(judge.consider(rows, scene.case.images[rows] + tried), rows, self.margin, self.weight)
            better = worth > best[rows]
            best[rows[better]], delta[rows[better]] = worth[better], tried[better]


def _square(numbers: Tensor, like: Tensor, done: float) -> Tensor:
    """Squares (n, C, H, W) of a random sign per channel at a random place, 0 outside; their area shrinks as the search goes on.

    Args:
        numbers: (n, 2 + C) uniform in (0, 1).
        like: (N, C, H, W).
        done: Share of the steps that are done.
    """
    height, width = like.shape[2:]
    side = max(1, min(height, width, round(math.sqrt(_AREA * (1 - done) ** 2 * height * width))))
    top, left = ((numbers[:, at] * (length - side + 1)).long() for at, length in ((0, height), (1, width)))
    down, across = (torch.arange(length, device=like.device) for length in (height, width))
    inside_rows = (down >= top[:, None]) & (down < top[:, None] + side)
    inside_columns = (across >= left[:, None]) & (across < left[:, None] + side)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return torch.where(inside, (numbers[:, 2:] - 0.5).sign()[:, :, None, None], 0.0)


def _paint(ball: Ball, delta: Tensor, stroke: Tensor, images: Tensor) -> Tensor:
    """The perturbation with the square on it: in its place for Linf, added at half the ball's size for the other norms."""
    if isinstance(ball, LinfBall):
        return ball.project(torch.where(stroke != 0, ball.eps * stroke, delta), images)
    return ball.project(delta + 0.5 * ball.eps * stroke / ball.size(stroke).float().view(-1, 1, 1, 1), images)
