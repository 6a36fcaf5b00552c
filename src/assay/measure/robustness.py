"""How much maps change when images hardly do."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from assay.core.registry import check_at_least, check_positive, register
from assay.explain.base import Explainer
from assay.explain.kernels import Gaussian, Uniform
from assay.measure.base import Measure
from assay.models.case import Case
from assay.models.passes import combined

__all__ = ["LocalLipschitz", "MaxSensitivity", "changes"]


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
    pitfalls: ClassVar[str] = "A map that never changes, whatever it shows, is perfect."
    takes: ClassVar[str] = "`samples` times the explainer's per map"
    meaning: ClassVar[str] = "Add noise too small to see: a robust map hardly changes."

    def __post_init__(self) -> None:
        check_positive(self, "radius")
        check_at_least(self, 1, "samples")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        return torch.stack([self._largest(case, one, explainer) for one, explainer in zip(maps, explainers, strict=True)])

    def _largest(self, case: Case, clean: Tensor, explainer: Explainer) -> Tensor:
        kernel, shape = Uniform(self.radius), tuple(case.images.shape[1:])

        def move(rows: Tensor, sample: Tensor) -> Tensor:
            return kernel.sample(case.seed, "MaxSensitivity", case.index[rows], sample, shape)

        moved, _ = changes(case, clean, explainer, self.samples, move)
        size: Tensor = clean.flatten(1).norm(dim=1)
        largest: Tensor = moved.amax(1) / size.masked_fill(size == 0, torch.nan)
        return largest


@register
class LocalLipschitz(Measure):
    """`max |E(x) - E(x_i)| / |x - x_i|` over draws `x_i ~ N(x, sigma^2 I)`, targets and the explainer's own noise held.

    Draws are not clipped to [0, 1]; norms are L2.

    Args:
        draws: Noisy copies per image.
        sigma: Standard deviation of the noise, in units of a [0, 1] pixel.

    Source: Tan and Tian 2023, definition 3.1 and equation 4.
    """

    draws: int = 50
    sigma: float = 0.03
    category: ClassVar[str] = "robustness"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"explainer"})
    reference: ClassVar[str] = "Tan, Tian: Robust Explanation for Free or At the Cost of Faithfulness, ICML 2023"
    pitfalls: ClassVar[str] = "A map that never changes, whatever it shows, is perfect."
    takes: ClassVar[str] = "`draws` times the explainer's per map"
    meaning: ClassVar[str] = "Add a little noise: a robust map changes little for the size of the change."

    def __post_init__(self) -> None:
        check_positive(self, "sigma")
        check_at_least(self, 1, "draws")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        kernel, shape = Gaussian(self.sigma), tuple(case.images.shape[1:])

        def move(rows: Tensor, sample: Tensor) -> Tensor:
            return kernel.sample(case.seed, "LocalLipschitz", case.index[rows], sample, shape)

        both = (changes(case, one, explainer, self.draws, move) for one, explainer in zip(maps, explainers, strict=True))
        return torch.stack([(moved / length).amax(1) for moved, length in both])


def changes(
    case: Case, clean: Tensor, explainer: Explainer, samples: int, move: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """How far maps move when images do: the lengths (L2) of the maps' changes (N, samples), and of the images'.

    Args:
        case: The images; targets and the explainer's own noise are held.
        clean: Their maps.
        explainer: What made them.
        samples: Changes per image.
        move: Gives the changes (P, C, H, W) of pairs of an image's place (P,) and a sample's number (P,).
    """
    images, shape = case.images, tuple(case.images.shape[1:])
    total = len(images) * samples
    found = torch.empty(2, total, device=images.device)
    start = 0
    while start < total:
        stop = min(total, start + case.model.chunk_size(total - start, shape, "gradient" in explainer.needs))
        pairs = torch.arange(start, stop, device=images.device)
        rows = pairs // samples
        delta = move(rows, pairs % samples)
        shifted = combined(torch.add, images, rows, delta)
        moved = explainer.attribute(case.model, shifted, case.targets[rows], case.index[rows], case.seed)
        found[0, start:stop] = combined(torch.sub, clean, rows, moved).flatten(1).norm(dim=1)
        found[1, start:stop] = delta.flatten(1).norm(dim=1)
        start = stop
    one, other = found.view(2, len(images), samples)
    return one, other
