"""Deletion and insertion: how the class probability moves when pixels go in the map's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from assay.core.inputs import check_maps
from assay.core.order import Along, BeforeCuts
from assay.core.registry import check_at_least, register
from assay.core.surroundings import undisturbed
from assay.explain.backgrounds import Background, Blur, Constant, background_scores
from assay.explain.base import Explainer, check_case
from assay.measure.base import Measure, Order, orders
from assay.measure.curves import Curve, Placing, placed
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.models.passes import mixed, scores
from assay.models.targets import Targets

__all__ = ["Deletion", "Insertion"]


class _PixelCurve(Measure):
    """What both have in common: a curve over the pixels in the map's order, and the area under it."""

    steps: int
    background: Background
    order: Order
    cuts: Placing
    reverse: bool

    def __post_init__(self) -> None:
        check_at_least(self, 1, "steps")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        found, flat = _curves(case, maps, self)
        return (found.area + flat).T

    def curve(
        self, model: Classifier, images: Any, maps: Tensor, targets: Targets | None = None, *, seed: int = 0, index: Tensor | None = None
    ) -> Curve:
        """The curves (N,) of one explainer's maps: `area` is the score, `error` its standard error; arguments as for a call."""
        return _curve(self, check_case(model, images, targets, seed, index), maps)


@register
class Deletion(_PixelCurve):
    """Area under the class probability while the most important pixels are deleted first.

    Pixels of equal value go in a random order and in its reverse, and the two curves' mean is taken: in expectation the mean over
    all their orders. A map whose pixels are all equal has no score (NaN).

    Args:
        steps: Parts of the curve, each of which takes a pass; one for each pixel at the most.
        background: What shows where a pixel is deleted.
        order: Rank pixels by the channels' sum ("signed") or by their summed magnitudes ("magnitude").
        cuts: Where parts end. "moving": up to eight equal shares of the pixels first, of which those are halved in which the curve moves
            most, and so on; "equal": equal shares only.
        reverse: Whether pixels of equal value go in the reverse of their random order too; in one order alone the mean is the same, its
            spread larger, and no pass is taken twice.

    Source: Petsiuk, Das, Saenko 2018 (RISE); deviations: `steps` parts instead of one step per image row, ends included,
    trapezoid rule.
    """

    steps: int = 32
    background: Background = Constant(0.0)
    order: Order = "signed"
    cuts: Placing = "moving"
    reverse: bool = True
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = False
    reference: ClassVar[str] = "Petsiuk, Das, Saenko: RISE, BMVC 2018"
    pitfalls: ClassVar[str] = "Images with pixels taken away are unlike any the network knows; read it beside the random map."
    takes: ClassVar[str] = "`steps` - 1 forward per map, up to twice that where pixels tie; 1 per background"
    meaning: ClassVar[str] = "Delete the pixels the map ranks highest first: a faithful map makes the class probability drop at once."


@register
class Insertion(_PixelCurve):
    """Area under the class probability while the most important pixels are put first into a blurred image.

    Ties as for `Deletion`.

    Args:
        steps: Parts of the curve, each of which takes a pass; one for each pixel at the most.
        background: What the curve starts from.
        order: See `Deletion`.
        cuts: See `Deletion`.
        reverse: See `Deletion`.

    Source: Petsiuk, Das, Saenko 2018 (RISE); deviations as for `Deletion`.
    """

    steps: int = 32
    background: Background = Blur(5.0)
    order: Order = "signed"
    cuts: Placing = "moving"
    reverse: bool = True
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = True
    reference: ClassVar[str] = "Petsiuk, Das, Saenko: RISE, BMVC 2018"
    pitfalls: ClassVar[str] = "Half-shown images are unlike any the network knows; read it beside the random map."
    takes: ClassVar[str] = "`steps` - 1 forward per map, up to twice that where pixels tie; 1 per background"
    meaning: ClassVar[str] = (
        "Put the pixels the map ranks highest first into a blurred image: a faithful map makes the class appear at once."
    )


def _curves(case: Case, maps: Sequence[Tensor], measure: _PixelCurve) -> tuple[Curve, Tensor]:
    """The curves (N, E) of E maps, whose two ends are run once for all, and NaN (N, E) for maps that rank nothing, else 0."""
    images, pixels, background = case.images, case.images[0, 0].numel(), measure.background
    filled = background.fill(images, case.index, case.seed)
    clean = case.model.score(case.logits, case.targets, "probability")
    other = background_scores(case.model, background, filled, case.targets, "probability")
    before, after, ends = (images, filled, (clean, other)) if isinstance(measure, Deletion) else (filled, images, (other, clean))
    places, flat = orders(maps, measure.order)

    def run(rows: Tensor, turned: Tensor, inside: BeforeCuts) -> Tensor:
        found = torch.where(turned == 0, ends[0][rows], ends[1][rows])
        inner = ((turned > 0) & (turned < pixels)).nonzero()[:, 0]

        def make(start: int, stop: int) -> Tensor:
            each = inner[start:stop]
            new, here = inside(each).view(-1, 1, *images.shape[2:]), rows[each]
            return mixed(here, new, after, before)

        found[inner] = scores(case.model, case.targets, rows[inner], images.shape[1:], make, "probability")
        return found

    ways = Along(places, case.index, case.seed, measure.reverse)
    return placed(pixels, measure.steps, measure.cuts, lambda cuts: ways(cuts, run), places[..., 0]), flat.T


@undisturbed()
def _curve(measure: _PixelCurve, case: Case, maps: Tensor) -> Curve:
    found, flat = _curves(case, [check_maps(maps, case.images)], measure)
    return Curve(found.shares[:, 0], found.heights[:, 0] + flat)
