"""`NoiseMapAttack`: random changes of the same size, the floor that an attack has to beat."""

from __future__ import annotations

from typing import ClassVar

import torch

from assay.attack.ball import Norm
from assay.attack.base import Attack, check_common
from assay.attack.goals import Goal, PushOutTopK
from assay.attack.judge import Judge, Scene
from assay.core.registry import check_at_least, register

__all__ = ["NoiseMapAttack"]


@register
class NoiseMapAttack(Attack):
    """Random changes that fill the ball: random signs of size eps for Linf, and a random direction of length eps for L2 and L1.

    Args:
        eps: Radius of the ball, in units of a [0, 1] pixel.
        norm: Norm of the ball.
        goal: What is reached.
        draws: Random changes per image, of which the one that reaches most is taken; 1 is plain noise.
        keep_class: Whether the predicted class must stay; where noise changes it, the clean image is returned.
        tolerance: How far its probability may move; None for anywhere.
    """

    eps: float = 8 / 255
    norm: Norm = "linf"
    goal: Goal = PushOutTopK()
    draws: int = 1
    keep_class: bool = True
    tolerance: float | None = None
    reference: ClassVar[str] = "none: the floor of every attack"
    pitfalls: ClassVar[str] = "Random changes: a floor for attacks, not a worst case."
    takes: ClassVar[str] = "`draws` maps and forward passes, and one of each for the clean image"

    def __post_init__(self) -> None:
        check_common(self)
        check_at_least(self, 1, "draws")

    def search(self, scene: Scene, judge: Judge) -> None:
        """See `Attack.search`."""
        rows = torch.arange(len(scene.case.images), device=scene.case.images.device)
        for draw in range(self.draws):
            inside = scene.start("NoiseMapAttack", draw)
            judge.consider(rows, scene.case.images + scene.ball.stretch(inside, scene.case.images))
