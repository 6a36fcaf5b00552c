"""Maps drawn along the edges of their images: the guided filter, and any explainer followed by it."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from assay.core.registry import check_at_least, check_positive, register
from assay.explain.base import Cost, Explainer, check_explains
from assay.models.classifier import Classifier

__all__ = ["Refined", "guided", "refine"]

_SHARE = 16
"""The default radius is the shorter side over this."""


def guided(maps: Tensor, images: Tensor, radius: int, edge: float) -> Tensor:
    """Maps (N, C, H, W) as they are best told, in each window, by a linear function of the image's (N, K, H, W) colours.

    Where the image is flat the map is smoothed, and at an edge of the image it may jump. Linear in the maps; makes no pass of a model.

    Args:
        maps: Channel by channel.
        images: The guide.
        radius: Windows have 2 radius + 1 pixels a side, fewer at the border.
        edge: Variance of the colours within a window from which it counts as an edge.

    Source: He, Sun, Tang: Guided Image Filtering, ECCV 2010.
    """

    def mean(values: Tensor) -> Tensor:
        return avg_pool2d(values, 2 * radius + 1, 1, radius, count_include_pad=False)

    def along(one: Tensor) -> Tensor:
        covariance = mean(images * one) - colour * mean(one)
        slope = torch.linalg.solve(spread, covariance.permute(0, 2, 3, 1)[..., None])[..., 0].permute(0, 3, 1, 2)
        level = mean(one) - (slope * colour).sum(1, keepdim=True)
        return (mean(slope) * images).sum(1, keepdim=True) + mean(level)

    count, channels, height, width = images.shape
    colour = mean(images)
    products = (images[:, :, None] * images[:, None]).flatten(1, 2)
    apart = mean(products).view(count, channels, channels, height, width) - colour[:, :, None] * colour[:, None]
    spread = apart.permute(0, 3, 4, 1, 2) + edge * torch.eye(channels, device=images.device)
    found = torch.cat([along(one) for one in maps.split(1, 1)], 1)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return torch.where(low == high, maps, found)  # A flat map ranks nothing, and rounding must not make it.


def refine(maps: Tensor, images: Tensor, radius: int | None = None, edge: float = 1e-3) -> Tensor:
    """Magnitudes (N, 1, H, W) drawn along the edges of the images, at least 0; see `Refined` for the arguments."""
    near = radius or max(1, min(images.shape[2:]) // _SHARE)
    return guided(maps.abs().sum(1, keepdim=True), images, near, edge).clamp_(min=0)


@register
class Refined(Explainer):
    """An explainer's maps drawn along the edges of the images, by the guided filter.

    It asks the model nothing more. Maps of a coarse grid then end where things in the image end, which is right where evidence is a whole
    thing and wrong where it is part of one; what is gained is knowledge of the image, not of the model, so compare refined maps
    with refined maps.

    Args:
        explainer: What makes the maps.
        radius: How many pixels the filter looks far; None for a sixteenth of the shorter side.
        edge: Variance of an image's colours within a window from which it counts as an edge.
        of: "magnitude" refines the channels' summed magnitudes, (N, 1, H, W), as pixels are ranked by most measures; "signed" the maps
            themselves.

    Source: He, Sun, Tang: Guided Image Filtering, ECCV 2010; here on attributions.
    """

    explainer: Explainer
    radius: int | None = None
    edge: float = 1e-3
    of: Literal["magnitude", "signed"] = "magnitude"
    category: ClassVar[str] = "smoothing"
    reference: ClassVar[str] = "He, Sun, Tang: Guided Image Filtering, ECCV 2010; here on attributions"
    pitfalls: ClassVar[str] = "Edges of the image, not of the evidence: what is gained is no knowledge of the model."
    takes: ClassVar[str] = "the explainer's"

    def __post_init__(self) -> None:
        check_at_least(self, 1, "radius")
        check_positive(self, "edge")
        check_explains(self.explainer, "Refined")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the explainer needs."""
        return self.explainer.needs

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Whether its maps can be negative."""
        return self.of == "signed" and self.explainer.signed

    @property
    def cost(self) -> Cost | None:
        """See `Explainer.cost`."""
        return self.explainer.cost

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        return self.along(self.explainer.attribute(model, images, targets, index, seed), images)

    def along(self, maps: Tensor, images: Tensor) -> Tensor:
        """Maps (N, C, H, W) that are there already, refined."""
        if self.of == "signed":
            return guided(maps, images, self.radius or max(1, min(images.shape[2:]) // _SHARE), self.edge)
        return refine(maps, images, self.radius, self.edge)
