"""How much maps change when images hardly do."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core.registry import check_at_least, check_positive, register
from assay.explain.base import Explainer
from assay.explain.kernels import Uniform
from assay.measure.base import Case, Measure

__all__ = ["MaxSensitivity"]


@register
class MaxSensitivity(Measure):
    """`max |E(x + d) - E(x)| / |E(x)|` over random d with every pixel within `radius`, targets and the explainer's own noise held.

    Args:
        radius: Largest change of a pixel.
        samples: Random changes per image.

    Source: Yeh et al. 2019, definition 3.1, by sampling as there; relative as in Captum.
    """

    radius: float = 0.02
    samples: int = 10
    category: ClassVar[str] = "robustness"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"explainer"})
    reference: ClassVar[str] = "Yeh, Hsieh, Suggala, Inouye, Ravikumar: On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019"
    meaning: ClassVar[str] = "Add noise too small to see: a robust map hardly changes."

    def __post_init__(self) -> None:
        check_positive(self, "radius")
        check_at_least(self, 1, "samples")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        return torch.stack([self._largest(case, one, explainer) for one, explainer in zip(maps, explainers, strict=True)])

    def _largest(self, case: Case, clean: Tensor, explainer: Explainer) -> Tensor:
        images, shape = case.images, tuple(case.images.shape[1:])
        total = len(images) * self.samples
        change = torch.empty(total, device=images.device)
        start = 0
        while start < total:
            stop = min(total, start + case.model.chunk_size(total - start, shape, "gradient" in explainer.needs))
            pairs = torch.arange(start, stop, device=images.device)
            rows = pairs // self.samples
            nearby = images[rows] + Uniform(self.radius).sample(case.seed, "MaxSensitivity", case.index[rows], pairs % self.samples, shape)
            moved = explainer.attribute(case.model, nearby, case.targets[rows], case.index[rows], case.seed)
            change[start:stop] = (moved - clean[rows]).flatten(1).norm(dim=1)
            start = stop
        size: Tensor = clean.flatten(1).norm(dim=1)
        largest: Tensor = change.view(len(images), self.samples).amax(1) / size.masked_fill(size == 0, torch.nan)
        return largest
