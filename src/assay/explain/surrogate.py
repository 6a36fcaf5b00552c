"""LIME and KernelSHAP: a linear model of the score over superpixels that stay or go."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from assay.core.registry import check_at_least, check_positive, register
from assay.explain import coalitions
from assay.explain.backgrounds import Background, Constant, background_scores
from assay.explain.base import Explainer
from assay.explain.segments import Quickshift, Segments, segment_sums
from assay.models.classifier import Classifier

__all__ = ["KernelShap", "Lime"]


@register
class Lime(Explainer):
    """Ridge coefficients of the score over random coalitions of superpixels, near ones weighing more.

    Args:
        samples: Coalitions, and forward passes, per image.
        segments: The superpixels.
        alpha: Ridge penalty.
        kernel_width: Width of the exponential kernel over the cosine distance between image and perturbed image.
        background: What shows through where a superpixel is absent.

    Source: Ribeiro, Singh, Guestrin 2016; kernel and sampling as in Captum, which the robustness paper used.
    """

    samples: int = 100
    segments: Segments = Quickshift()
    alpha: float = 1.0
    kernel_width: float = 1.0
    background: Background = Constant(0.0)
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[frozenset[str]] = frozenset({"segments"})
    reference: ClassVar[str] = "Ribeiro, Singh, Guestrin: Why Should I Trust You?, KDD 2016"

    def __post_init__(self) -> None:
        check_at_least(self, 2, "samples")
        check_positive(self, "alpha", "kernel_width")

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        labels = self.segments.labels(images)
        counts = labels.flatten(1).amax(1) + 1
        filled = self.background.fill(images, index, seed)
        drawn = coalitions.distinct(coalitions.bernoulli(seed, index, counts, self.samples))
        values = coalitions.run(model, images, targets, labels, filled, drawn)
        near = torch.exp(-(cosine_distances(images, filled, labels, drawn.members) ** 2) / (2 * self.kernel_width**2))
        fitted = coalitions.solve_ridge(drawn.members, values, drawn.weights * near, self.alpha)
        return fitted.gather(1, labels.flatten(1)).view(len(images), 1, *labels.shape[1:])


@register
class KernelShap(Explainer):
    """Shapley values of superpixels by weighted least squares over coalitions.

    Args:
        samples: Forward passes per image, those of the image and of the background included.
        segments: The superpixels.
        background: What shows through where a superpixel is absent.
        sampling: "paired" takes whole coalition sizes exactly while they fit and draws the rest in complementary pairs;
            "independent" is the plain sampling of the robustness paper (Captum's).

    Source: Lundberg, Lee 2017; Covert, Lee 2021.
    """

    samples: int = 100
    segments: Segments = Quickshift()
    background: Background = Constant(0.0)
    sampling: Literal["paired", "independent"] = "paired"
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[frozenset[str]] = frozenset({"segments"})
    reference: ClassVar[str] = "Lundberg, Lee: A Unified Approach to Interpreting Model Predictions, NeurIPS 2017"

    def __post_init__(self) -> None:
        check_at_least(self, 4, "samples")

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        labels = self.segments.labels(images)
        counts = labels.flatten(1).amax(1) + 1
        filled = self.background.fill(images, index, seed)
        drawn = coalitions.distinct(coalitions.shapley(seed, index, counts, self.samples - 2, self.sampling == "paired"))
        values = coalitions.run(model, images, targets, labels, filled, drawn)
        full = model.score(model.unchecked_logits(images), targets)
        empty = background_scores(model, self.background, filled, targets)
        fitted = coalitions.solve_shapley(drawn.members, values, drawn.weights, empty, full, counts)
        return fitted.gather(1, labels.flatten(1)).view(len(images), 1, *labels.shape[1:])


def cosine_distances(images: Tensor, filled: Tensor, labels: Tensor, members: Tensor) -> Tensor:
    """1 - cosine between each image and its perturbed copies (N, S), from sums over segments instead of the copies."""
    count = members.shape[2]
    x, b = images.double(), filled.double()
    energy, cross, ground = (segment_sums(part.sum(1), labels, count) for part in (x * x, x * b, b * b))
    stays = members.double()

    def total(inside: Tensor, outside: Tensor) -> Tensor:
        return torch.einsum("nsk,nk->ns", stays, inside - outside) + outside.sum(1, keepdim=True)

    dot, norm = total(energy, cross), total(energy, ground)
    return 1 - dot / (norm * energy.sum(1, keepdim=True)).sqrt().clamp_min(1e-8)
