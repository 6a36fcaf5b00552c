"""Shapley values of superpixels by sampling the orders in which they join."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core import noise
from assay.core.registry import check_at_least, register
from assay.explain.backgrounds import Background, Constant, background_scores
from assay.explain.base import Cost, Explainer
from assay.explain.superpixels import coalitions
from assay.explain.superpixels.coalitions import Coalitions
from assay.explain.superpixels.posterior import spread
from assay.explain.superpixels.segments import Segments, Superpixels
from assay.models.classifier import Classifier

__all__ = ["ShapleySampling", "orders_drawn", "prefixes", "shares"]

_MOST = 2**26
"""Members of coalitions that are held at once."""


@register
class ShapleySampling(Explainer):
    """What each superpixel adds to the score when it joins, the mean over random orders: (N, 1, H, W), forward passes only.

    Every order's shares sum to f(image) - f(background), so the map's coefficients do.

    Args:
        permutations: Orders per image; each takes a pass per superpixel but one.
        segments: The superpixels.
        background: What shows where a superpixel has not joined yet.
        paired: Draw every second order as the one before it reversed, which cancels much of the noise at equal passes.

    Source: Castro, Gomez, Tejada 2009; Strumbelj, Kononenko 2010; Mitchell et al. 2022 (pairs).
    """

    permutations: int = 10
    segments: Segments = Superpixels()
    background: Background = Constant(0.0)
    paired: bool = True
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[frozenset[str]] = frozenset({"segments"})
    reference: ClassVar[str] = "Castro, Gomez, Tejada: Polynomial Calculation of the Shapley Value Based on Sampling, 2009"
    pitfalls: ClassVar[str] = "Relative to its background; the error falls with the root of the permutations only."

    def __post_init__(self) -> None:
        check_at_least(self, 1, "permutations")

    @property
    def cost(self) -> Cost | None:
        """See `Explainer.cost`."""
        if self.segments.cells is None:
            return None
        own = self.permutations * (self.segments.cells - 1) + 1
        return Cost(own, shared=1) if self.background.shared else Cost(own + 1)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        labels = self.segments.labels(images)
        counts = labels.flatten(1).amax(1) + 1
        filled = self.background.fill(images, index, seed)
        full = model.score(model.unchecked_logits(images), targets)
        empty = background_scores(model, self.background, filled, targets)
        widest = int(counts.max())
        values = full.new_zeros(len(images), widest)
        step = max(1, _MOST // (self.permutations * widest * widest))
        for rows in torch.arange(len(images), device=images.device).split(step):
            ranks = orders_drawn(seed, index[rows], counts[rows], self.permutations, self.paired)
            drawn = prefixes(ranks, counts[rows])
            scored = coalitions.run_coalitions(model, images[rows], targets[rows], labels[rows], filled[rows], drawn)
            values[rows, : ranks.shape[2]] = shares(ranks, counts[rows], scored, empty[rows], full[rows])
        return spread(values, labels)


def orders_drawn(seed: int, index: Tensor, counts: Tensor, permutations: int, paired: bool) -> Tensor:
    """Places (N, P, n), from 0, of each superpixel in P random orders of an image's `counts` (N,); columns past them come last."""
    widest = int(counts.max())
    half = (permutations + 1) // 2 if paired else permutations
    rows, sample = index.repeat_interleave(half), torch.arange(half, device=index.device).repeat(len(index))
    drawn = noise.uniform(seed, "permutations", rows, sample, (widest,)).view(len(index), half, widest)
    own = torch.arange(widest, device=index.device) < counts[:, None, None]
    ranks = torch.where(own, drawn, 2.0).argsort(dim=2, stable=True).argsort(2)
    if not paired:
        return ranks
    turned = torch.where(own, counts[:, None, None] - 1 - ranks, ranks)
    return torch.stack([ranks, turned], 2).flatten(1, 2)[:, :permutations]


def prefixes(ranks: Tensor, counts: Tensor) -> Coalitions:
    """The coalitions of the first 1, 2, ..., n - 1 superpixels of each order."""
    images, orders, widest = ranks.shape
    sizes = torch.arange(1, widest, device=ranks.device)
    members = (ranks[:, :, None] < sizes[:, None]) & (torch.arange(widest, device=ranks.device) < counts[:, None, None, None])
    weights = (sizes < counts[:, None, None]).double().expand(images, orders, widest - 1)
    return Coalitions(members.flatten(1, 2), weights.flatten(1, 2))


def shares(ranks: Tensor, counts: Tensor, scored: Tensor, empty: Tensor, full: Tensor) -> Tensor:
    """Mean over the orders of what each superpixel adds (N, n), 0 past an image's own."""
    images, orders, widest = ranks.shape
    ends = [part[:, None, None].expand(images, orders, 1) for part in (empty, full)]
    reached = torch.cat([ends[0], scored.view(images, orders, widest - 1), ends[1]], 2)
    reached = torch.where(torch.arange(widest + 1, device=ranks.device) == counts[:, None, None], ends[1], reached)
    added = reached.gather(2, ranks + 1) - reached.gather(2, ranks)
    own = torch.arange(widest, device=ranks.device) < counts[:, None]
    return torch.where(own, added.mean(1), 0.0)
