"""Explaining the model convolved with a kernel: the mean map over noisy copies of the image."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from assay.core.noise import derive
from assay.core.registry import check_at_least, register
from assay.explain.base import Cost, Explainer, check_explains
from assay.explain.gradient import Gradient
from assay.explain.kernels import Gaussian, Kernel, draw
from assay.models.classifier import Classifier
from assay.models.passes import combined, segment_sum

__all__ = ["SmoothGrad", "Smoothed", "samples_for", "with_copies"]


T = TypeVar("T")


def samples_for(sigma: float) -> int:
    """Number of samples that the robustness paper takes at `sigma`: 10 below 0.01, else 10 per 0.01."""
    return 10 if sigma < 0.01 else round(10 * sigma / 0.01)


@register
class Smoothed(Explainer):
    """The mean of an explainer's maps over noisy copies of the image, the targets held.

    Args:
        explainer: What is smoothed.
        kernel: The noise.
        samples: Noisy copies per image; None for the paper's rule at the kernel's spread (`samples_for`).
        antithetic: Noise in pairs of opposite sign, which cancels all odd terms of the error at equal passes.

    Source: Smilkov et al. 2017; Tan and Tian, ICML 2023 (composition with a kernel).
    """

    explainer: Explainer
    kernel: Kernel = Gaussian(0.03)
    samples: int | None = None
    antithetic: bool = True
    category: ClassVar[str] = "smoothing"
    reference: ClassVar[str] = "Tan, Tian: Robust Explanation for Free or At the Cost of Faithfulness, ICML 2023"
    pitfalls: ClassVar[str] = "Explains the smoothed network, another function the wider the kernel (`assay frontier`)."
    takes: ClassVar[str] = "the explainer's, times the copies"

    def __post_init__(self) -> None:
        check_at_least(self, 1, "samples")
        check_explains(self.explainer, "Smoothed")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the smoothed explainer needs."""
        return self.explainer.needs

    @property
    def count(self) -> int:
        """Noisy copies per image."""
        return self.samples if self.samples is not None else samples_for(self.kernel.spread)

    @property
    def cost(self) -> Cost | None:
        """See `Explainer.cost`."""
        one = self.explainer.cost
        if one is None:
            return None
        # Calls may share a pass, but not all of them together.
        return Cost(self.count * (one.forward + one.shared), self.count * one.backward, most=one.most or one.shared > 0)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        count, shape = self.count, tuple(images.shape[1:])
        total = len(images) * count
        inner = derive(seed, "Smoothed.inner")
        sums: Tensor | None = None
        start = 0
        while start < total:
            stop = start + model.chunk_size(total - start, shape, "gradient" in self.needs)
            pairs = torch.arange(start, min(stop, total), device=images.device)
            rows, sample = pairs // count, pairs % count
            noise = draw(self.kernel, seed, "Smoothed", index[rows], sample, shape, self.antithetic)
            noisy = combined(torch.add, images, rows, noise)
            maps = self.explainer.attribute(model, noisy, targets[rows], index[rows] * count + sample, inner)
            if sums is None:
                sums = maps.new_zeros(len(images), *maps.shape[1:])
            segment_sum(sums, rows, torch.full_like(rows, 1.0, dtype=torch.float32), maps)
            start = stop
        assert sums is not None
        return sums / count


@register
class SmoothGrad(Explainer):
    """The gradient of the model smoothed by Gaussian noise: `Smoothed(Gradient(), Gaussian(sigma), samples)`.

    Args:
        sigma: Standard deviation of the noise, in units of a [0, 1] pixel.
        samples: Noisy copies per image; None for the paper's rule (`samples_for`).
        antithetic: See `Smoothed`; False is the paper's independent noise.

    Source: Smilkov et al. 2017, arXiv 1706.03825.
    """

    sigma: float = 0.03
    samples: int | None = None
    antithetic: bool = True
    category: ClassVar[str] = "smoothing"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    reference: ClassVar[str] = "Smilkov, Thorat, Kim, Viegas, Wattenberg: SmoothGrad, 2017"
    pitfalls: ClassVar[str] = "Explains the smoothed network, another function the wider the noise (`assay frontier`)."

    def __post_init__(self) -> None:
        check_at_least(self, 0, "sigma")
        check_at_least(self, 1, "samples")

    @property
    def smoothed(self) -> Smoothed:
        """The same explainer as a composition."""
        return Smoothed(Gradient(), Gaussian(self.sigma), self.samples, self.antithetic)

    @property
    def cost(self) -> Cost | None:
        """See `Explainer.cost`."""
        return self.smoothed.cost

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        return self.smoothed.attribute(model, images, targets, index, seed)


def with_copies(explainer: T, samples: int | None) -> T:
    """The explainer with another number of noisy copies wherever it averages over them; as it is where None or where it does not."""
    if samples is None:
        return explainer
    if isinstance(explainer, Smoothed):
        return replace(explainer, explainer=with_copies(explainer.explainer, samples), samples=samples)
    return replace(explainer, samples=samples) if isinstance(explainer, SmoothGrad) else explainer
