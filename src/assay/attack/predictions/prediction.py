"""Attacks on predictions: what all share, and losses that do not depend on the scale of the logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.attack.ball import Ball, Norm, ball
from assay.core.registry import check_at_least, check_choice
from assay.core.surroundings import undisturbed
from assay.errors import TargetError
from assay.explain.base import check_call
from assay.models.classifier import Classifier
from assay.models.heads import HEADS
from assay.models.passes import slope_of
from assay.models.targets import check_labels

__all__ = ["Loss", "PredictionAttack", "PredictionLoss", "Quarry", "loss_gradient", "prediction_loss"]

Loss = Callable[[Tensor, slice], Tensor]
"""Losses (n,) of the logits (n, K) of a slice of the images."""
PredictionLoss = Literal["cross_entropy", "margin", "dlr"]

_SHARP = 4.0
"""Spread of the logits at which the cross-entropy is taken, about that of a trained network's."""


@dataclass(frozen=True)
class Quarry:
    """The images under attack, and what was found of them so far.

    Attributes:
        model: The model.
        images: (N, C, H, W), clean, on the model's device.
        labels: (N,) true classes.
        index: (N,) the images' global numbers.
        seed: Decides all randomness, together with `index`.
        scale: (N,) what logits are multiplied with before a loss is taken, so that it does not depend on their scale.
        ball: What may be changed.
        found: (N, C, H, W) in [0, 1], misclassified where that was found, else the clean image.
        right: (N,) bool, still classified right.
        climbed: (N,) bool, whether there was anything to go by: a gradient that is not 0, or another loss elsewhere.
    """

    model: Classifier
    images: Tensor
    labels: Tensor
    index: Tensor
    seed: int
    scale: Tensor
    ball: Ball
    found: Tensor
    right: Tensor
    climbed: Tensor

    @property
    def todo(self) -> Tensor:
        """Rows of the images that are still classified right."""
        return self.right.nonzero().flatten()

    def losses(self, kind: PredictionLoss, logits: Tensor, rows: Tensor) -> Tensor:
        """Losses (n,) of logits (n, K) of the images numbered `rows`."""
        scaled, labels = logits * self.scale[rows][:, None], self.labels[rows]
        # Findings have no other class to lead, so the ratio of differences is the margin, which the scale has divided already.
        head = HEADS[self.model.head]
        return head.loss(scaled, labels, kind) if head.sided else prediction_loss(kind, scaled, labels)

    def gradient(self, kind: PredictionLoss, pixels: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (n,) at changed images of `rows`, and their gradients; what is misclassified is kept, at no further pass."""
        losses = torch.zeros(len(rows), device=pixels.device)

        def loss(logits: Tensor, part: slice) -> Tensor:
            here = self.losses(kind, logits, rows[part])
            losses[part] = here.detach()
            self.keep(rows[part], pixels[part], logits.detach())
            return here

        slopes = loss_gradient(self.model, pixels, loss)
        self.climbed[rows] |= (slopes != 0).flatten(1).any(1)
        return losses, slopes

    def keep(self, rows: Tensor, pixels: Tensor, logits: Tensor) -> None:
        """Keep those of the changed images that are misclassified by these logits."""
        gone = self.right[rows] & ~HEADS[self.model.head].right(logits, self.labels[rows])
        self.found[rows[gone]], self.right[rows[gone]] = pixels[gone].clamp(0.0, 1.0), False


class PredictionAttack(ABC):
    """Base of all attacks on the prediction: small changes that make the class another than the label.

    A subclass is decorated with `register`, has the fields below and writes `search`.
    """

    eps: float
    norm: Norm
    reference: ClassVar[str]
    """The paper that defines it."""

    @final
    def __call__(self, model: Classifier, images: Tensor, labels: Tensor, seed: int = 0, *, index: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W) in the ball, in [0, 1], misclassified where that was found; an image that is already stays as it is.

        Args:
            model: The model.
            images: (N, C, H, W), pixels in [0, 1].
            labels: (N,) true classes.
            seed: Decides all randomness, together with `index`.
            index: (N,) the images' global numbers; 0..N-1 when None.

        Raises:
            AssayError: A wrong input, named in the message, or a model without a gradient.
        """
        home = images.device if isinstance(images, Tensor) else None
        return self.run(model, images, labels, seed, index=index).found.to(home)

    @final
    @undisturbed()
    def run(self, model: Classifier, images: Tensor, labels: Tensor, seed: int = 0, *, index: Tensor | None = None) -> Quarry:
        """The attack with all that it found, on the model's device; see `__call__`."""
        images, _, index = check_call(model, images, None, index)
        if labels is None:
            raise TargetError(f"{type(self).__name__} needs the images' true classes: give labels")
        classes, head = model.count_classes(images.shape[1:]), HEADS[model.head]
        checked, logits = check_labels(head, labels, len(images), classes, model.device), model.logits(images)
        right, climbed = head.right(logits, checked), torch.full((len(images),), self.eps == 0, device=model.device)
        area = ball(self.norm, self.eps)
        quarry = Quarry(model, images, checked, index, seed, _SHARP / head.spread(logits, checked), area, images.clone(), right, climbed)
        if self.eps > 0 and bool(right.any()):
            self.search(quarry)
        return quarry

    @abstractmethod
    def search(self, quarry: Quarry) -> None:
        """Show candidates to `quarry.keep` (or `quarry.gradient`)."""


def check_ball(attack: PredictionAttack) -> None:
    """Raise SpecError unless the fields that all attacks share make sense."""
    check_at_least(attack, 0, "eps")
    check_choice(attack, "norm", ("linf", "l2", "l1"))


def prediction_loss(kind: PredictionLoss, logits: Tensor, labels: Tensor) -> Tensor:
    """What an attack on the prediction climbs (n,).

    Args:
        kind: "cross_entropy" has the direction of the cross-entropy's gradient and does not vanish where the label is all but
            certain: the other classes' log-sum-exp less the label's logit. "margin" is the lead of the best other class, "dlr" that
            lead divided by how far the largest logit is above the third; of two classes it would be 1 or -1, and is the margin.
        logits: (n, K).
        labels: (n,).

    Source: Croce, Hein, ICML 2020 (difference of logits ratio).
    """
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    if kind == "cross_entropy":
        return others.logsumexp(1) - own
    lead = others.amax(1) - own
    if kind == "margin" or logits.shape[1] < 3:
        return lead
    best = logits.topk(3, 1).values
    return lead / (best[:, 0] - best[:, 2]).clamp_min(torch.finfo(logits.dtype).tiny)


def loss_gradient(model: Classifier, images: Tensor, loss: Loss) -> Tensor:
    """Gradient (N, C, H, W) at the pixels of each image's loss; images of a chunk whose losses are all 0 go forward only.

    Raises:
        ModelError: The logits do not depend on the pixels in a way that can be differentiated.
    """
    found = torch.zeros_like(images)

    def step(start: int, stop: int) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            pixels = images[start:stop].detach().clone().requires_grad_()
            losses = loss(model.forward(pixels), slice(start, stop))
            if losses.requires_grad and not bool((losses != 0).any()):
                return
            slope = slope_of(model, losses, pixels)
        model.count_backward(stop - start)
        found[start:stop] = slope

    model.run(len(images), images.shape[1:], True, step)
    return found
