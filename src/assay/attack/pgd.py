"""`PGD`: the same ascent on the prediction itself, for robust accuracy."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.attack.ascent import ascend
from assay.attack.ball import Norm, ball
from assay.attack.optimiser import Decay, SteepestAscent
from assay.attack.prediction import loss_gradient
from assay.core import noise
from assay.core.registry import check_at_least, check_choice, check_positive, register
from assay.core.surroundings import undisturbed
from assay.errors import TargetError
from assay.explain.base import check_call
from assay.models.classifier import Classifier

__all__ = ["PGD", "robust_accuracy"]


@register
class PGD:
    """Projected gradient descent on the prediction: small changes that make the class another than the label.

    Args:
        eps: Radius of the ball, in units of a [0, 1] pixel.
        norm: Norm of the ball: "linf", "l2" or "l1".
        steps: Steps of each restart.
        step: Length of a step, as a share of eps; None for 2.5 / steps, at most 1.
        restarts: Random starting points.
        loss: What is climbed: the cross-entropy, or the lead of the best other class.
        decay: How the step falls to 0.
        random_start: Whether to begin at a random point of the ball rather than at the image.

    Source: Madry et al., ICLR 2018.
    """

    eps: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 20
    step: float | None = None
    restarts: int = 1
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    decay: Decay = "constant"
    random_start: bool = True
    reference: ClassVar[str] = (
        "Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018"
    )

    def __post_init__(self) -> None:
        check_at_least(self, 0, "eps")
        check_at_least(self, 1, "steps", "restarts")
        check_positive(self, "step")
        check_choice(self, "norm", ("linf", "l2", "l1"))

    @undisturbed()
    def __call__(self, model: Classifier, images: Tensor, labels: Tensor, seed: int = 0, *, index: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W) in the ball, in [0, 1], misclassified where that was found; an image that is already stays as it is.

        Args:
            model: The model.
            images: (N, C, H, W), pixels in [0, 1].
            labels: (N,) true classes.
            seed: Decides the starting points, together with `index`.
            index: (N,) the images' global numbers; 0..N-1 when None.

        Raises:
            AssayError: A wrong input, named in the message, or a model without a gradient.
        """
        home = images.device if isinstance(images, Tensor) else None
        images, checked, index = check_call(model, images, labels, index)
        if checked is None:
            raise TargetError("PGD needs the images' true classes: give labels")
        labels, logits = checked, model.logits(images)
        area = ball(self.norm, self.eps)
        found, right = images.clone(), logits.argmax(1) == labels
        optimiser = SteepestAscent(self.step or min(1.0, 2.5 / self.steps), momentum=0.0, decay=self.decay)
        for restart in range(self.restarts if self.eps else 0):
            todo = right.nonzero().flatten()
            if not len(todo):
                break
            start = torch.zeros_like(images[todo])
            if self.random_start:
                number = torch.full_like(todo, restart)
                start = area.start(images[todo], noise.normal(seed, "PGD", index[todo], number, tuple(images.shape[1:])))

            def climb(pixels: Tensor, rows: Tensor, _step: int, todo: Tensor = todo) -> Tensor:
                here, gone = todo[rows], torch.zeros_like(rows, dtype=torch.bool)

                def loss(logits: Tensor, part: slice) -> Tensor:
                    # The pass that gives the gradient tells what it begins with at no further cost.
                    gone[part] = logits.detach().argmax(1) != labels[here[part]]
                    return self._loss(logits, labels[here[part]])

                gradient = loss_gradient(model, pixels, loss)
                found[here[gone]], right[here[gone]] = pixels[gone].clamp(0.0, 1.0), False
                return gradient

            def look(rows: Tensor, pixels: Tensor, done: int, todo: Tensor = todo) -> Tensor | None:
                here = todo[rows]
                if done == self.steps:
                    gone = right[here] & (model.unchecked_logits(pixels).argmax(1) != labels[here])
                    found[here[gone]], right[here[gone]] = pixels[gone].clamp(0.0, 1.0), False
                return right[here]

            ascend(images[todo], start, area, optimiser, self.steps, climb, look)
        return found.to(home)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.loss == "cross_entropy":
            return F.cross_entropy(logits, labels, reduction="none")
        own = logits.gather(1, labels[:, None])[:, 0]
        return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own


@undisturbed()
def robust_accuracy(
    model: Classifier, images: Tensor, labels: Tensor, attack: PGD | None = None, seed: int = 0, *, index: Tensor | None = None
) -> float:
    """Share of the images that are classified right and stay so under `attack`.

    Args:
        model: The model.
        images: (N, C, H, W), pixels in [0, 1].
        labels: (N,) true classes.
        attack: The attack; PGD() when None.
        seed: Decides its starting points.
        index: (N,) the images' global numbers; 0..N-1 when None.
    """
    attacked = (attack or PGD())(model, images, labels, seed, index=index)
    return float((model.predict(attacked) == labels.to(attacked.device)).float().mean())
