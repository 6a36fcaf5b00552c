"""How often two models say the same."""

from __future__ import annotations

from torch import Tensor

from assay.core.surroundings import undisturbed
from assay.errors import ShapeError
from assay.explain.base import check_model
from assay.models.accuracy import Accuracy
from assay.models.classifier import Classifier
from assay.models.heads import HEADS

__all__ = ["model_agreement"]


@undisturbed()
def model_agreement(one: Classifier, other: Classifier, images: Tensor, others: Tensor | None = None) -> Accuracy:
    """The share of images that both models put into the same class, of which they have the same findings, with Wilson's 95% interval.

    Args:
        one: A model, such as the one that was tuned from.
        other: Another, such as the tuned one.
        images: (N, C, H, W) that `one` sees, pixels in [0, 1].
        others: (N, C, H, W) that `other` sees, such as simplified images; None for the same.

    Raises:
        AssayError: A wrong input, named in the message, or a logit that is not finite.

    Source: Bhalla, Srinivas, Lakkaraju, NeurIPS 2023 (model faithfulness).
    """
    check_model(one)
    check_model(other)
    logits = one.logits(images)
    again = other.logits(images if others is None else others)
    if len(again) != len(logits):
        raise ShapeError(f"others holds {len(again)} images for {len(logits)}; give one for each")
    same = HEADS[one.head].right(logits, HEADS[other.head].findings(again).to(logits.device))
    return Accuracy.of(int(same.sum()), len(logits))
