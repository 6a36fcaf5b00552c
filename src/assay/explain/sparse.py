"""Maps cut down to the places of their top pixels, which noise can then vote on."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core.order import last_of_top
from assay.core.registry import register
from assay.errors import SpecError
from assay.explain.base import Cost, Explainer
from assay.models.classifier import Classifier

__all__ = ["Sparsified"]


@register
class Sparsified(Explainer):
    """1 at an explainer's top pixels by magnitude and 0 elsewhere, (N, 1, H, W); pixels with nothing in them are never marked.

    Smoothed by a kernel it is sparsified SmoothGrad, the frequency with which each pixel is among the top, which can be certified:
    `Smoothed(Sparsified(Gradient(), fraction=0.1), Gaussian(0.25), samples=1000, antithetic=False)`.

    Args:
        explainer: What is cut down.
        fraction: Share of the pixels that counts as top.
        full: Share of the pixels marked by 1, where the others of the top are to be marked by their magnitude over that of the
            last of these; None for 1 at all of the top.

    Source: Levine, Singla, Feizi 2019, arXiv 1905.12105 (sparsified SmoothGrad; relaxed with `full`).
    """

    explainer: Explainer
    fraction: float = 0.1
    full: float | None = None
    category: ClassVar[str] = "smoothing"
    reference: ClassVar[str] = "Levine, Singla, Feizi: Certifiably Robust Interpretation in Deep Learning, 2019"
    pitfalls: ClassVar[str] = "Places only: signs and sizes are gone."
    takes: ClassVar[str] = "the explainer's"
    signed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise SpecError(f"Sparsified: fraction must be in (0, 1), not {self.fraction!r}")
        if self.full is not None and not 0 < self.full <= self.fraction:
            raise SpecError(f"Sparsified: full must be in (0, fraction], not {self.full!r}")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the explainer needs."""
        return self.explainer.needs

    def top(self, pixels: int) -> int:
        """How many of so many pixels are marked, at least one."""
        return max(1, round(self.fraction * pixels))

    @property
    def cost(self) -> Cost | None:
        """See `Explainer.cost`."""
        return self.explainer.cost

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        values = self.explainer.attribute(model, images, targets, index, seed).abs().sum(1, keepdim=True)
        flat = values.flatten(1)
        count = self.top(flat.shape[1])
        last = last_of_top(flat, count)
        above, tied = flat > last, flat == last
        # Of equal pixels those come first that do in the image.
        inside = above | (tied & (tied.cumsum(1) <= count - above.sum(1, keepdim=True)))
        marks = (flat > 0).to(flat.dtype)
        if self.full is not None:
            edge = last_of_top(flat, max(1, round(self.full * flat.shape[1])))
            marks = torch.where(edge > 0, flat / edge.masked_fill(edge == 0, 1.0), marks).clamp(max=1.0)
        # What is not finite must stay so, to be reported.
        spoilt = ~flat.sum(1, keepdim=True).isfinite()
        return (marks * inside).masked_fill(spoilt, torch.nan).view_as(values)
