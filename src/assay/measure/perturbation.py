"""Deletion and insertion: how the class probability moves when pixels go in the map's order."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core.order import Inside, along
from assay.core.registry import check_at_least, register
from assay.explain.backgrounds import Background, Blur, Constant, background_scores
from assay.explain.base import Explainer
from assay.measure.base import Measure, Order, orders
from assay.models.case import Case
from assay.models.passes import scores

__all__ = ["Deletion", "Insertion"]


@register
class Deletion(Measure):
    """Area under the class probability while the most important pixels are deleted first.

    Pixels of equal value go in a random order and in its reverse, and the two curves' mean is taken: in expectation the mean over
    all their orders. A map whose pixels are all equal has no score (NaN).

    Args:
        steps: Equal shares of the pixels that are deleted one after another.
        background: What shows where a pixel is deleted.
        order: Rank pixels by the channels' sum ("signed") or by their summed magnitudes ("magnitude").

    Source: Petsiuk, Das, Saenko 2018 (RISE); deviation: `steps` shares instead of one step per image row, ends included,
    trapezoid rule.
    """

    steps: int = 32
    background: Background = Constant(0.0)
    order: Order = "signed"
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = False
    reference: ClassVar[str] = "Petsiuk, Das, Saenko: RISE, BMVC 2018"
    pitfalls: ClassVar[str] = "Images with pixels taken away are unlike any the network knows; read it beside the random map."
    takes: ClassVar[str] = "`steps` - 1 forward per map, up to twice that where pixels tie; 1 per image"
    meaning: ClassVar[str] = "Delete the pixels the map ranks highest first: a faithful map makes the class probability drop at once."

    def __post_init__(self) -> None:
        check_at_least(self, 1, "steps")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:  # noqa: ARG002
        """See `Measure.evaluate`."""
        filled = self.background.fill(case.images, case.index, case.seed)
        return _area(case, maps, case.images, filled, self.background, self.steps, self.order)


@register
class Insertion(Measure):
    """Area under the class probability while the most important pixels are put first into a blurred image.

    Ties as for `Deletion`.

    Args:
        steps: Equal shares of the pixels that are inserted one after another.
        background: What the curve starts from.
        order: See `Deletion`.

    Source: Petsiuk, Das, Saenko 2018 (RISE); deviations as for `Deletion`.
    """

    steps: int = 32
    background: Background = Blur(5.0)
    order: Order = "signed"
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = True
    reference: ClassVar[str] = "Petsiuk, Das, Saenko: RISE, BMVC 2018"
    pitfalls: ClassVar[str] = "Half-shown images are unlike any the network knows; read it beside the random map."
    takes: ClassVar[str] = "`steps` - 1 forward per map, up to twice that where pixels tie; 1 per image"
    meaning: ClassVar[str] = (
        "Put the pixels the map ranks highest first into a blurred image: a faithful map makes the class appear at once."
    )

    def __post_init__(self) -> None:
        check_at_least(self, 1, "steps")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:  # noqa: ARG002
        """See `Measure.evaluate`."""
        filled = self.background.fill(case.images, case.index, case.seed)
        return _area(case, maps, filled, case.images, self.background, self.steps, self.order)


def _area(case: Case, maps: list[Tensor], before: Tensor, after: Tensor, background: Background, steps: int, order: Order) -> Tensor:
    """Areas (E, N) under the probability while pixels turn from `before` to `after`; the two ends are run once for all maps."""
    images, pixels = case.images, case.images[0, 0].numel()
    clean = case.model.score(case.logits, case.targets, "probability")
    other = background_scores(case.model, background, before if after is images else after, case.targets, "probability")
    ends = (other, clean) if after is images else (clean, other)
    places, flat = orders(maps, order)

    def run(rows: Tensor, turned: Tensor, inside: Inside) -> Tensor:
        found = torch.where(turned == 0, ends[0][rows], ends[1][rows])
        inner = ((turned > 0) & (turned < pixels)).nonzero()[:, 0]

        def make(start: int, stop: int) -> Tensor:
            each = inner[start:stop]
            new = inside(each)
            return torch.where(new.view(-1, 1, *images.shape[2:]), after[rows[each]], before[rows[each]])

        found[inner] = scores(case.model, case.targets, rows[inner], images.shape[1:], make, "probability")
        return found

    cuts = torch.linspace(0, pixels, steps + 1, device=images.device).round().long()
    return torch.trapezoid(along(places, cuts, case.index, case.seed, run), dx=1 / steps).T + flat
