"""Agreement with evidence and distractors whose place is known."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.core.order import brackets
from assay.core.registry import check_at_least, register
from assay.explain.base import Explainer
from assay.measure.base import Measure, Order, orders, pixel_values, unranked
from assay.models.case import Case

__all__ = ["DistractorShare", "MaskIoU", "PointingGame", "TruthShare", "mass_share", "overlaps"]

Mass = Literal["magnitude", "positive"]


@register
class MaskIoU(Measure):
    """Intersection over union of the true mask and the map's top p pixels, p being the mask's size.

    Where pixels of equal value tie for the last places, it is the exact mean over their orders. NaN for an empty mask or a map
    whose pixels are all equal.

    Args:
        order: Rank pixels by the channels' sum ("signed") or by their summed magnitudes ("magnitude"), in which addends that cancel count.

    Source: Bhalla, Srinivas, Lakkaraju, NeurIPS 2023 (ground-truth evaluation).
    """

    order: Order = "signed"
    category: ClassVar[str] = "localisation"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"truth"})
    reference: ClassVar[str] = "Bhalla, Srinivas, Lakkaraju: Discriminative Feature Attributions, NeurIPS 2023"
    pitfalls: ClassVar[str] = "As right as the masks: the network may look elsewhere and be explained well."
    takes: ClassVar[str] = "none"
    meaning: ClassVar[str] = "Compare the map's top pixels with where the evidence is known to lie: 1 is a perfect match."

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        assert case.truth is not None
        return overlaps(maps, case.truth, self.order)


@register
class TruthShare(Measure):
    """The share of the map's mass that lies on the true mask; NaN for an empty mask or a map whose pixels are all equal.

    Args:
        mass: A pixel's mass: its channels' summed magnitudes ("magnitude"), or the positive part of their sum ("positive").

    Source: Arras, Osman, Samek 2022 (relevance mass accuracy).
    """

    mass: Mass = "magnitude"
    category: ClassVar[str] = "localisation"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"truth"})
    reference: ClassVar[str] = "Arras, Osman, Samek: CLEVR-XAI, Information Fusion 2022"
    pitfalls: ClassVar[str] = "As right as the masks; one large value elsewhere costs much."
    takes: ClassVar[str] = "none"
    meaning: ClassVar[str] = "How much of the map lies where the evidence is known to lie: 1 is all of it."

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        assert case.truth is not None
        return torch.stack([mass_share(one, case.truth, self.mass) for one in maps])


@register
class DistractorShare(Measure):
    """The share of the map's mass that lies on a known distractor.

    NaN for an image without one or a map whose pixels are all equal.

    Args:
        mass: See `TruthShare`.

    Source: relevance mass (Arras, Osman, Samek 2022), here of what must not matter.
    """

    mass: Mass = "magnitude"
    category: ClassVar[str] = "localisation"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"distractor"})
    reference: ClassVar[str] = "Arras, Osman, Samek: CLEVR-XAI, Information Fusion 2022"
    pitfalls: ClassVar[str] = "As right as the masks: low for maps that point nowhere, too."
    takes: ClassVar[str] = "none"
    meaning: ClassVar[str] = "How much of the map lies on what is known not to matter: 0 is none of it."

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        assert case.distractor is not None
        return torch.stack([mass_share(one, case.distractor, self.mass) for one in maps])


@register
class PointingGame(Measure):
    """1 where the map's largest pixel lies on the true mask, else 0; where several are largest, the share of them that does.

    NaN for an empty mask or a map whose pixels are all equal.

    Args:
        order: The largest by the channels' sum ("signed") or by their summed magnitudes ("magnitude").
        tolerance: How many pixels beside the mask, diagonally too, still count.

    Source: Zhang et al. 2016, whose tolerance is 15 pixels.
    """

    order: Order = "signed"
    tolerance: int = 0
    category: ClassVar[str] = "localisation"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"truth"})
    reference: ClassVar[str] = "Zhang, Lin, Brandt, Shen, Sclaroff: Top-down Neural Attention by Excitation Backprop, ECCV 2016"
    pitfalls: ClassVar[str] = "As right as the masks, and one pixel of the map is all that counts."
    takes: ClassVar[str] = "none"
    meaning: ClassVar[str] = "Look at the map's largest pixel alone: it lies where the evidence is known to lie."

    def __post_init__(self) -> None:
        check_at_least(self, 0, "tolerance")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        assert case.truth is not None
        places, flat = orders(maps, self.order)
        near = F.max_pool2d(case.truth.float(), 2 * self.tolerance + 1, 1, self.tolerance).flatten(1)
        top = (places == 0).float()
        hits = (top * near[:, None]).sum(2) / top.sum(2)
        return hits.masked_fill(~case.truth.flatten(1).any(1, keepdim=True), torch.nan).T + flat


def overlaps(maps: list[Tensor], truth: Tensor, order: Order = "signed") -> Tensor:
    """The score of `MaskIoU` (E, N) of maps (N, C, H, W) and masks (N, 1, H, W) bool."""
    places, flat = orders(maps, order)
    return torch.stack([_expected_iou(one, truth.flatten(1)) for one in places.unbind(1)]) + flat


def mass_share(maps: Tensor, masks: Tensor, mass: Mass) -> Tensor:
    """Share (N,) of the mass of maps (N, C, H, W) on masks (N, 1, H, W) bool; NaN for an empty mask or equal pixels."""
    sizes = pixel_values(maps, "magnitude") if mass == "magnitude" else pixel_values(maps, "signed").clamp_min(0)
    # Dividing by the largest first keeps sums of very small or large values inside the range of float32.
    sizes = sizes.flatten(1)
    flat = unranked(sizes)
    sizes = sizes / sizes.amax(1, keepdim=True)
    inside, places = (sizes * masks.flatten(1)).sum(1), masks.flatten(1).any(1)
    return (inside / sizes.sum(1)).masked_fill(~places, torch.nan) + flat


def _expected_iou(places: Tensor, truth: Tensor) -> Tensor:
    """Mean IoU (N,) over the orders of equal pixels, given `larger` (N, P) and masks (N, P)."""
    size = truth.sum(1, keepdim=True)
    low, high = brackets(places, size)
    tied = (places >= low) & (places < high)
    certain = (truth & (places < low)).sum(1, keepdim=True)
    # Of `free` tied pixels, `true` of them in the mask, `drawn` come first: how many true ones is hypergeometric.
    free, true, drawn = (count.double() for count in (high - low, (truth & tied).sum(1, keepdim=True), size - low))
    hits = torch.arange(int(torch.minimum(true, drawn).amax()) + 1, device=places.device)
    chance = (_log_choose(true, hits) + _log_choose(free - true, drawn - hits) - _log_choose(free, drawn)).exp()
    both = certain + hits
    return (chance * both / (2 * size - both)).sum(1).float()


def _log_choose(of: Tensor, chosen: Tensor) -> Tensor:
    """Logarithms of binomial coefficients; minus infinity where there are none."""
    found = torch.lgamma(of + 1) - torch.lgamma(chosen.double() + 1) - torch.lgamma((of - chosen) + 1)
    return torch.where((chosen >= 0) & (chosen <= of), found, -torch.inf)
