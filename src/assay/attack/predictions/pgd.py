"""`PGD`: the same ascent on the prediction itself, for robust accuracy."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from assay.attack.ascent import ascend
from assay.attack.ball import Norm
from assay.attack.optimiser import Decay, SteepestAscent
from assay.attack.predictions.prediction import PredictionAttack, Quarry, check_ball
from assay.core import noise
from assay.core.registry import check_at_least, check_positive, register

__all__ = ["PGD"]


@register
class PGD(PredictionAttack):
    """Projected gradient descent on the prediction: small changes that make the class another than the label.

    Outcomes do not depend on the scale of the logits: losses are taken of logits divided by the clean image's spread.

    Args:
        eps: Radius of the ball, in units of a [0, 1] pixel.
        norm: Norm of the ball: "linf", "l2" or "l1".
        steps: Steps of each restart.
        step: Length of a step, as a share of eps; None for 2.5 / steps, at most 1.
        restarts: Starting points, every second one opposite to the one before.
        loss: What is climbed: the cross-entropy, or the lead of the best other class.
        decay: How the step falls to 0.
        random_start: Whether to begin at a random point of the ball rather than at the image.

    Source: Madry et al., ICLR 2018.
    """

    eps: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 20
    step: float | None = None
    restarts: int = 2
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    decay: Decay = "constant"
    random_start: bool = True
    reference: ClassVar[str] = (
        "Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018"
    )

    def __post_init__(self) -> None:
        check_ball(self)
        check_at_least(self, 1, "steps", "restarts")
        check_positive(self, "step")

    def search(self, quarry: Quarry) -> None:
        """See `PredictionAttack.search`."""
        optimiser = SteepestAscent(self.step or min(1.0, 2.5 / self.steps), momentum=0.0, decay=self.decay)
        for restart in range(self.restarts if self.random_start else 1):
            todo = quarry.todo
            if not len(todo):
                return
            images = quarry.images[todo]
            start = torch.zeros_like(images)
            if self.random_start:
                number = torch.full_like(todo, restart // 2)
                drawn = noise.normal(quarry.seed, "PGD", quarry.index[todo], number, tuple(images.shape[1:]))
                start = quarry.ball.start(images, drawn if restart % 2 == 0 else -drawn)

            def climb(pixels: Tensor, rows: Tensor, _step: int, todo: Tensor = todo) -> Tensor:
                return quarry.gradient(self.loss, pixels, todo[rows])[1]

            def look(rows: Tensor, pixels: Tensor, done: int, todo: Tensor = todo) -> Tensor | None:
                here = todo[rows]
                if done == self.steps:
                    quarry.keep(here, pixels, quarry.model.unchecked_logits(pixels))
                return quarry.right[here]

            ascend(images, start, quarry.ball, optimiser, self.steps, climb, look)
