"""Deletion and insertion: how the class probability moves when pixels go in the map's order."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core.registry import check_at_least, register
from assay.explain.backgrounds import Background, Blur, Constant, background_scores
from assay.explain.base import Explainer
from assay.measure.base import Case, Measure, Order, pairs_of, ranks
from assay.models.passes import scores

__all__ = ["Deletion", "Insertion"]


@register
class Deletion(Measure):
    """Area under the class probability while the most important pixels are deleted first.

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
    model, images, targets = case.model, case.images, case.targets
    count, kinds, inner = len(images), len(maps), steps - 1
    clean = model.score(case.logits, targets, "probability")
    other = background_scores(model, background, before if after is images else after, targets, "probability")
    ends = (other, clean) if after is images else (clean, other)

    places = torch.stack([ranks(one, order) for one in maps], 1)
    height, width = images.shape[2:]
    rows = pairs_of(count, kinds * inner, images.device)
    turned = torch.linspace(0, height * width, steps + 1, device=images.device).round()

    def make(start: int, stop: int) -> Tensor:
        pairs = torch.arange(start, stop, device=images.device)
        here, kind, step = pairs // (kinds * inner), pairs // inner % kinds, pairs % inner + 1
        new = places[here, kind] < turned[step, None]
        return torch.where(new.view(-1, 1, height, width), after[here], before[here])

    curve = torch.empty(count, kinds, steps + 1, device=images.device)
    curve[:, :, 0], curve[:, :, -1] = ends[0][:, None], ends[1][:, None]
    if inner:
        curve[:, :, 1:-1] = scores(model, targets, rows, images.shape[1:], make, "probability").view(count, kinds, inner)
    return torch.trapezoid(curve, dx=1 / steps).T.contiguous()
