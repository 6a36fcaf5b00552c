"""What a question about a model carries: the model, images, what is explained of them, and what is computed once from these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from assay.models.classifier import Classifier
from assay.models.formats import exact
from assay.models.targets import Decision

__all__ = ["Case"]


@dataclass(frozen=True, eq=False)
class Case:
    """Images of a model, checked, on its device; passes that nothing else changes are made once and kept.

    Args:
        model: The model.
        images: (N, C, H, W).
        targets: (N,) class ids or aims.
        index: (N,) the images' global numbers.
        seed: Decides all randomness, together with `index`.
        truth: (N, 1, H, W) bool, where the evidence is known to lie.
        distractor: (N, 1, H, W) bool, what is known not to matter although it tempts.
        outputs: (N, K) logits of the images, where they are known already.
    """

    model: Classifier
    images: Tensor
    targets: Tensor
    index: Tensor
    seed: int
    truth: Tensor | None = None
    distractor: Tensor | None = None
    outputs: Tensor | None = None

    @cached_property
    def logits(self) -> Tensor:
        """Logits (N, K) of the clean images."""
        return self.model.logits(self.images) if self.outputs is None else self.outputs

    @cached_property
    def decision(self) -> Decision:
        """What the model decides about the clean images."""
        return self.model.decide(self.logits, self.targets)

    @cached_property
    def finite(self) -> Tensor:
        """(N,) bool, whether an image's logits are."""
        return self.logits.flatten(1).isfinite().all(1)

    @cached_property
    def exact(self) -> Case:
        """The same case of the model in 32 bits (`assay.models.formats.exact`); itself where the model computes in them."""
        model = exact(self.model)
        return self if model is self.model else replace(self, model=model, outputs=None)

    def part(self, rows: Tensor) -> Case:
        """The case of some of its images, by their places (M,)."""
        truth, distractor = (None if mask is None else mask[rows] for mask in (self.truth, self.distractor))
        images, targets, index = (one[rows] for one in (self.images, self.targets, self.index))
        return Case(self.model, images, targets, index, self.seed, truth, distractor, self.logits[rows])
