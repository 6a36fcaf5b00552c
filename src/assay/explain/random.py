"""A map of pure noise: the floor that every explainer has to beat."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core import noise
from assay.core.registry import register
from assay.explain.base import Cost, Explainer
from assay.models.classifier import Classifier

__all__ = ["RandomMap"]


@register
class RandomMap(Explainer):
    """Independent normal pixels that know nothing of the model, and change altogether with the smallest change of the image."""

    category: ClassVar[str] = "control"
    reference: ClassVar[str] = "none: the floor of every table"
    pitfalls: ClassVar[str] = "Knows nothing of the model."
    finds_targets: ClassVar[bool] = True

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(0)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:  # noqa: ARG002
        """See `Explainer.attribute`."""
        content = images.flatten(1).view(torch.int32).to(torch.int64)
        places = torch.arange(1, content.shape[1] + 1, device=images.device)
        stamp = (content * (2 * places + 1)).sum(1)
        return noise.normal(seed, "RandomMap", index, stamp, tuple(images.shape[1:]))
