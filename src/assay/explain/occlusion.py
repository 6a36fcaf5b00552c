"""Occlusion: the score that is lost when one cell goes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core.registry import register
from assay.explain import coalitions
from assay.explain.backgrounds import Background, Constant
from assay.explain.base import Explainer
from assay.explain.coalitions import Coalitions
from assay.explain.segments import Grid, Segments
from assay.models.classifier import Classifier

__all__ = ["Occlusion", "all_but_one"]


@register
class Occlusion(Explainer):
    """The score lost when one cell alone is replaced, at every pixel of the cell: (N, 1, H, W), forward passes only.

    Args:
        segments: The cells.
        background: What shows in the place of a cell that is gone.

    Source: Zeiler, Fergus 2014; deviation: cells that do not overlap, in place of a sliding square.
    """

    segments: Segments = Grid(rows=8, columns=8)
    background: Background = Constant(0.0)
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[frozenset[str]] = frozenset({"segments"})
    reference: ClassVar[str] = "Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014"

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        labels = self.segments.labels(images)
        filled = self.background.fill(images, index, seed)
        left = coalitions.run(model, images, targets, labels, filled, all_but_one(labels.flatten(1).amax(1) + 1))
        lost = model.score(model.unchecked_logits(images), targets)[:, None] - left
        return lost.gather(1, labels.flatten(1)).view(len(images), 1, *labels.shape[1:])


def all_but_one(counts: Tensor) -> Coalitions:
    """For each image of `counts` (N,) segments, as many coalitions, from each of which one segment is absent."""
    widest = int(counts.max())
    own = torch.arange(widest, device=counts.device) < counts[:, None]
    members = own[:, None] & ~torch.eye(widest, dtype=torch.bool, device=counts.device)
    return Coalitions(members, own.double())
