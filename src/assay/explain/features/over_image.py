"""What explainers have in common whose maps are a layer's, laid over the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from assay.explain.base import Cost, Explainer
from assay.models.classifier import Classifier

__all__ = ["LayerExplainer", "Small", "enlarged", "over_image"]

Small = Callable[[Tensor, Tensor | None], Tensor]
"""Gives small maps (n, 1, h, w) of a chunk of images (n, C, H, W) and its targets, None for the predicted classes."""


class LayerExplainer(Explainer):
    """Base of explainers of one pass forward and at most one back whose maps are a layer's: (N, 1, H, W), never negative."""

    category: ClassVar[str] = "layer"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "layer"})
    signed: ClassVar[bool] = False
    finds_targets: ClassVar[bool] = True

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(1, int("gradient" in self.needs))


def over_image(model: Classifier, images: Tensor, targets: Tensor | None, small: Small) -> Tensor:
    """Maps (N, 1, H, W) of images (N, C, H, W), a chunk at a time."""
    shape = images.shape[1:]
    maps = images.new_empty(len(images), 1, *shape[1:])

    def step(start: int, stop: int) -> None:
        maps[start:stop] = enlarged(small(images[start:stop], None if targets is None else targets[start:stop]), shape)

    model.run(len(images), shape, True, step)
    return maps


def enlarged(maps: Tensor, shape: torch.Size) -> Tensor:
    """Maps (n, 1, h, w) as large as an image of `shape` (C, H, W): bilinear, corners not aligned."""
    return interpolate(maps, tuple(shape[1:]), mode="bilinear", align_corners=False)
