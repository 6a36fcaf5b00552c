"""Explainers that are one gradient."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core.registry import register
from assay.explain.base import Cost, Explainer
from assay.models.classifier import Classifier
from assay.models.passes import gradients

__all__ = ["Gradient", "GradientExplainer", "GradientXInput"]


class GradientExplainer(Explainer):
    """Base of explainers of one pass forward and one back to the pixels."""

    category: ClassVar[str] = "gradient"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    finds_targets: ClassVar[bool] = True

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(1, 1)


@register
class Gradient(GradientExplainer):
    """The gradient of the score at the pixels.

    Source: Simonyan, Vedaldi, Zisserman 2014 (there as its absolute value; here signed).
    """

    reference: ClassVar[str] = "Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks, 2014"
    pitfalls: ClassVar[str] = "What a small change does, not what the score owes to a pixel; noisy where the network bends."

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        maps = torch.empty_like(images)

        def take(start: int, stop: int, _scores: Tensor, found: Tensor) -> None:
            maps[start:stop] = found

        rows = torch.arange(len(images), device=images.device)
        gradients(model, targets, rows, images.shape[1:], lambda start, stop: images[start:stop], take)
        return maps


@register
class GradientXInput(GradientExplainer):
    """The gradient times the pixels.

    Source: Shrikumar et al. 2016, arXiv 1605.01713.
    """

    reference: ClassVar[str] = "Shrikumar, Greenside, Shcherbina, Kundaje: Not Just a Black Box, 2016"
    pitfalls: ClassVar[str] = "Nothing at black pixels, whatever they tell."

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        return Gradient().attribute(model, images, targets, index, seed).mul_(images)
