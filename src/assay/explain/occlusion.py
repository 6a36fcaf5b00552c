"""Occlusion: the score that is lost when one cell goes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core.registry import register
from assay.explain.backgrounds import Background, Constant
from assay.explain.base import Cost, Explainer
from assay.explain.superpixels.coalitions import Coalitions
from assay.explain.superpixels.segments import Grid, Segments
from assay.models.classifier import Classifier, Output
from assay.models.passes import combined, mixed, scores

__all__ = ["Occlusion", "all_but_one", "losses"]


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
    pitfalls: ClassVar[str] = "Evidence that stands twice is lost from neither cell alone."

    @property
    def cost(self) -> Cost | None:
        """See `Explainer.cost`."""
        return None if self.segments.cells is None else Cost(self.segments.cells + 1)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        labels = self.segments.labels(images)
        filled = self.background.fill(images, index, seed)
        lost, _ = losses(model, images, targets, labels, filled, model.score(model.unchecked_logits(images), targets))
        return lost.gather(1, labels.flatten(1)).view(len(images), 1, *labels.shape[1:])


def losses(
    model: Classifier, images: Tensor, targets: Tensor, labels: Tensor, filled: Tensor, full: Tensor, output: Output | None = None
) -> tuple[Tensor, Tensor]:
    """Scores lost when one segment alone is replaced (N, n), 0 past an image's own number, and which are its own (N, n).

    Args:
        model: The model.
        images: (N, C, H, W).
        targets: (N,) class ids.
        labels: (N, H, W) segment of each pixel.
        filled: (N, C, H, W) what shows in a segment's place.
        full: (N,) scores of the images.
        output: What a score is, where it is not what the model explains.
    """
    counts = labels.flatten(1).amax(1) + 1
    own = torch.arange(int(counts.max()), device=images.device) < counts[:, None]
    rows, segments = own.nonzero(as_tuple=True)

    def make(start: int, stop: int) -> Tensor:
        here = rows[start:stop]
        inside = combined(torch.eq, labels, here, segments[start:stop, None, None])
        return mixed(here, inside[:, None], filled, images)

    lost = torch.zeros(own.shape, device=images.device)
    lost[own] = full[rows] - scores(model, targets, rows, images.shape[1:], make, output)
    return lost, own


def all_but_one(counts: Tensor) -> Coalitions:
    """For each image of `counts` (N,) segments, as many coalitions, from each of which one segment is absent."""
    widest = int(counts.max())
    own = torch.arange(widest, device=counts.device) < counts[:, None]
    members = own[:, None] & ~torch.eye(widest, dtype=torch.bool, device=counts.device)
    return Coalitions(members, own.double())
