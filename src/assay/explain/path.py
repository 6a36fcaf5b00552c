"""Integrated Gradients."""

from __future__ import annotations

import functools
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from assay.core.inputs import check_maps
from assay.core.registry import check_at_least, check_at_most, register
from assay.explain.backgrounds import Background, Constant, background_scores
from assay.explain.base import Cost, Explainer, check_call
from assay.models.classifier import Classifier
from assay.models.passes import combined, gradients, segment_sum
from assay.models.targets import Targets

__all__ = ["IntegratedGradients", "quadrature"]

Rule = Literal["gauss_legendre", "midpoint", "trapezoid"]
_MOST_NODES = 1000
"""Of a Gauss-Legendre rule, whose nodes are the eigenvalues of a matrix of that side."""


@functools.cache
def quadrature(rule: Rule, steps: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Points in [0, 1] and their weights for integrals over the path from baseline (0) to image (1)."""
    if rule == "midpoint" or (rule == "trapezoid" and steps == 1):
        return tuple((np.arange(steps) + 0.5) / steps), (1.0 / steps,) * steps
    if rule == "trapezoid":
        weights = np.full(steps, 1.0 / (steps - 1))
        weights[[0, -1]] /= 2
        return tuple(np.linspace(0, 1, steps)), tuple(weights)
    points, weights = np.polynomial.legendre.leggauss(steps)
    return tuple((points + 1) / 2), tuple(weights / 2)


@register
class IntegratedGradients(Explainer):
    """The gradient averaged over the straight path from a baseline, times the way.

    Args:
        steps: Points on the path.
        baseline: Where the path begins.
        rule: Quadrature; "gauss_legendre" is the robustness paper's (Captum's default), which needs a smoother path than ReLU
            networks have: `assay bench` prints the errors of both.
        complete: Correct the quadrature weights of each image, by the least change, so that the map sums to
            f(image) - f(baseline), which two further forward passes tell; False is the paper's plain quadrature.

    Source: Sundararajan, Taly, Yan 2017, arXiv 1703.01365.
    """

    steps: int = 10
    baseline: Background = Constant(0.0)
    rule: Rule = "midpoint"
    complete: bool = True
    category: ClassVar[str] = "path"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    reference: ClassVar[str] = "Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017"
    pitfalls: ClassVar[str] = "Relative to its baseline: evidence that looks like it, here black, gets nothing."

    def __post_init__(self) -> None:
        check_at_least(self, 1, "steps")
        if self.rule == "gauss_legendre":
            check_at_most(self, _MOST_NODES, "steps")

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        if not self.complete:
            return Cost(self.steps, self.steps)
        return Cost(self.steps + 1, self.steps, 1) if self.baseline.shared else Cost(self.steps + 2, self.steps)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        base = self.baseline.fill(images, index, seed).detach().to(images.dtype)
        way = images - base
        steps = self.steps
        points, weights = (torch.tensor(values, dtype=torch.float32, device=images.device) for values in quadrature(self.rule, steps))
        plain, slopes = torch.zeros_like(images), torch.zeros_like(images)
        squares = torch.zeros(len(images), 1, device=images.device)

        def make(start: int, stop: int) -> Tensor:
            pairs = torch.arange(start, stop, device=images.device)
            here, share = pairs // steps, points[pairs % steps].view(-1, 1, 1, 1)
            return combined(torch.add, base, here, combined(torch.mul, way, here, share))

        def take(start: int, stop: int, _scores: Tensor, found: Tensor) -> None:
            pairs = torch.arange(start, stop, device=images.device)
            here = pairs // steps
            segment_sum(plain, here, weights[pairs % steps], found)
            if self.complete:
                slope = combined(torch.mul, way, here, found).flatten(1).sum(1)
                segment_sum(slopes, here, slope, found)
                segment_sum(squares, here, slope, slope[:, None])

        rows = torch.arange(len(images), device=images.device).repeat_interleave(steps)
        gradients(model, targets, rows, images.shape[1:], make, take)
        maps = plain.mul_(way)
        if self.complete:
            clean = model.score(model.unchecked_logits(images), targets)
            gap = clean - background_scores(model, self.baseline, base, targets) - maps.flatten(1).sum(1)
            # Without any slope on the path nothing tells the pixels apart, and the gap stays for `residual` to tell.
            sloped = squares[:, 0] > torch.finfo(torch.float32).tiny
            share = torch.where(sloped, gap.double() / squares[:, 0], 0.0 * gap.double())
            maps += (slopes.mul_(way) * share.view(-1, 1, 1, 1)).float()
        return maps

    def residual(
        self,
        model: Classifier,
        images: Tensor,
        maps: Tensor,
        targets: Targets | None = None,
        *,
        seed: int = 0,
        index: Tensor | None = None,
    ) -> Tensor:
        """What the maps leave unexplained, (N,): f(image) - f(baseline) - sum of the map.

        Args:
            model: The model that was explained.
            images: (N, C, H, W), pixels in [0, 1].
            maps: (N, C, H, W), of this explainer.
            targets: See `Explainer`; None for the predicted classes.
            seed: The seed of the maps.
            index: The images' global numbers; 0..N-1 when None.
        """
        home = images.device if isinstance(images, Tensor) else None
        images, aims, index = check_call(model, images, targets, index)
        maps = check_maps(maps, images)
        logits = model.unchecked_logits(images)
        chosen = model.choose(logits) if aims is None else aims
        empty = background_scores(model, self.baseline, self.baseline.fill(images, index, seed), chosen)
        return (model.score(logits, chosen) - empty - maps.flatten(1).sum(1)).to(home)
