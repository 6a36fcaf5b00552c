"""`AttackEnsemble`: the worst case over several attacks, and robust accuracy by it."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from assay.attack.ball import Norm
from assay.attack.predictions.apgd import APGD
from assay.attack.predictions.prediction import PredictionAttack, Quarry, check_ball
from assay.attack.predictions.square import SquareAttack
from assay.core.registry import check_at_least, check_choice, register
from assay.core.surroundings import undisturbed
from assay.errors import ModelError
from assay.models.classifier import Classifier

__all__ = ["AttackEnsemble", "robust_accuracy", "withstood"]


@register
class AttackEnsemble(PredictionAttack):
    """Three attacks one after the other, each on the images that withstood those before.

    `APGD` on the margin, `APGD` on the difference of logits ratio, and `SquareAttack`, which needs no gradient.

    Args:
        eps: Radius of the ball, in units of a [0, 1] pixel.
        norm: Norm of the ball: "linf" or "l2".
        steps: Steps of each ascent.
        restarts: Starting points of each ascent.
        queries: Squares that are tried.

    Source: after Croce, Hein, ICML 2020 (AutoAttack); theirs has targeted ascents and a boundary attack besides.
    """

    eps: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 50
    restarts: int = 1
    queries: int = 500
    reference: ClassVar[str] = (
        "Croce, Hein: Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-Free Attacks, ICML 2020"
    )

    def __post_init__(self) -> None:
        check_ball(self)
        check_choice(self, "norm", ("linf", "l2"))
        check_at_least(self, 1, "steps", "restarts", "queries")

    def search(self, quarry: Quarry) -> None:
        """See `PredictionAttack.search`; what only squares move was not climbed."""
        for loss in ("margin", "dlr"):
            APGD(self.eps, self.norm, self.steps, self.restarts, loss).search(quarry)
        climbed = quarry.climbed.clone()
        SquareAttack(self.eps, self.norm, self.queries).search(quarry)
        quarry.climbed.copy_(climbed)


@undisturbed()
def withstood(
    model: Classifier, images: Tensor, labels: Tensor, attack: PredictionAttack, seed: int = 0, *, index: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Which images (N,) bool are classified right also under `attack`, and which of these (N,) had no gradient to climb.

    What could not be climbed is not known to be robust, and is in the first no more than in any count of robust images.

    Args:
        model: The model.
        images: (N, C, H, W), pixels in [0, 1].
        labels: (N,) true classes, or multi-hot (N, K) with head "sigmoid".
        attack: The attack.
        seed: Decides its starting points.
        index: (N,) the images' global numbers; 0..N-1 when None.

    Raises:
        AssayError: A wrong input, named in the message.
    """
    found = attack.run(model, images, labels, seed, index=index)
    return found.right & found.climbed, found.right & ~found.climbed


def robust_accuracy(
    model: Classifier, images: Tensor, labels: Tensor, attack: PredictionAttack | None = None, seed: int = 0, *, index: Tensor | None = None
) -> float:
    """Share of the images that are classified right and stay so under `attack`: an upper bound, which a stronger attack may lower.

    Args:
        model: The model.
        images: (N, C, H, W), pixels in [0, 1].
        labels: (N,) true classes, or multi-hot (N, K) with head "sigmoid".
        attack: The attack; AttackEnsemble() when None.
        seed: Decides its starting points.
        index: (N,) the images' global numbers; 0..N-1 when None.

    Raises:
        ModelError: There was no gradient to climb at some images, so that their staying right says nothing.
    """
    attack = attack or AttackEnsemble()
    robust, blind = withstood(model, images, labels, attack, seed, index=index)
    if bool(blind.any()):
        raise ModelError(
            f"{model.name} gives {type(attack).__name__} no gradient to climb at {int(blind.sum())} of {len(blind)} images, so that their "
            "staying right says nothing of robustness; ask a certificate, or search without gradients by SquareAttack()"
        )
    return float(robust.float().mean())
