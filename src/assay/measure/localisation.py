"""Agreement with evidence whose place is known."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core.registry import register
from assay.explain.base import Explainer
from assay.measure.base import Case, Measure, Order, ranks

__all__ = ["MaskIoU"]


@register
class MaskIoU(Measure):
    """Intersection over union of the true mask and the map's top p pixels, p being the mask's size; NaN for an empty mask.

    Args:
        order: Rank pixels by the channels' summed magnitudes ("magnitude") or by their sum ("signed").

    Source: Bhalla, Srinivas, Lakkaraju, NeurIPS 2023 (ground-truth evaluation).
    """

    order: Order = "magnitude"
    category: ClassVar[str] = "localisation"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"truth"})
    reference: ClassVar[str] = "Bhalla, Srinivas, Lakkaraju: Discriminative Feature Attributions, NeurIPS 2023"
    meaning: ClassVar[str] = "Compare the map's top pixels with where the evidence is known to lie: 1 is a perfect match."

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:  # noqa: ARG002
        """See `Measure.evaluate`."""
        assert case.truth is not None
        truth = case.truth.flatten(1)
        size = truth.sum(1, keepdim=True)
        both = torch.stack([((ranks(one, self.order) < size) & truth).sum(1) for one in maps]).float()
        return both / (2 * size[:, 0] - both)
