"""Pixel perturbation: is the class still seen when only the map's top pixels are kept?"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core.order import Along, BeforeCuts
from assay.core.registry import register
from assay.errors import SpecError
from assay.explain.backgrounds import Background, MeanColour
from assay.explain.base import Explainer
from assay.measure.base import Measure, Order, orders
from assay.measure.erasure import kept
from assay.models.case import Case
from assay.models.passes import mixed

__all__ = ["KeepTop"]


@register
class KeepTop(Measure):
    """1 where the target is still the predicted class when all but the map's top pixels are replaced, else 0.

    With labels as targets its mean is the accuracy on the kept pixels; with no targets, the share of predictions kept. Where
    pixels of equal value tie for the last places, it is the mean over a random order of them and its reverse. NaN where the model
    gives NaN or infinity, and for a map whose pixels are all equal. With head "sigmoid", 1 where the target is there, or not, as
    on the whole image.

    Args:
        fraction: Share of the pixels that are kept, in (0, 1]; at least one pixel is. The paper takes 0.1, 0.05, 0.02 and 0.01.
        background: What shows in the place of the others.
        order: Rank pixels by the channels' summed magnitudes ("magnitude") or by their sum ("signed").

    Source: Bhalla, Srinivas, Lakkaraju, NeurIPS 2023 (pixel perturbation).
    """

    fraction: float = 0.1
    background: Background = MeanColour()
    order: Order = "magnitude"
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = True
    reference: ClassVar[str] = "Bhalla, Srinivas, Lakkaraju: Discriminative Feature Attributions, NeurIPS 2023"
    pitfalls: ClassVar[str] = "Most of the image is replaced, which few networks were trained to see through."
    takes: ClassVar[str] = "1 forward per map, 2 where pixels tie"
    meaning: ClassVar[str] = "Keep only the pixels the map ranks highest: a discriminative map keeps the class."

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise SpecError(f"KeepTop: fraction must be above 0 and at most 1, not {self.fraction!r}")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        images, pixels = case.images, case.images[0, 0].numel()
        places, flat = orders(maps, self.order)
        filled = self.background.fill(images, case.index, case.seed)

        def run(rows: Tensor, _: Tensor, inside: BeforeCuts) -> Tensor:
            def make(start: int, stop: int) -> Tensor:
                each = torch.arange(start, stop, device=rows.device)
                stays, here = inside(each).view(-1, 1, *images.shape[2:]), rows[each]
                return mixed(here, stays, images, filled)

            return kept(case.model, case.targets, rows, images.shape[1:], make, lambda: case.logits)

        most = torch.tensor([max(1, round(self.fraction * pixels))], device=images.device)
        return Along(places, case.index, case.seed)(most, run)[:, :, 0].T + flat
