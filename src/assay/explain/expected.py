"""Expected Gradients, and the variance of gradients under noise: what single gradients at drawn points come to."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core import noise
from assay.core.noise import derive
from assay.core.registry import check_at_least, register
from assay.explain.backgrounds import Background
from assay.explain.base import Cost, Explainer
from assay.explain.kernels import Gaussian, draw
from assay.models.classifier import Classifier
from assay.models.passes import gradients, segment_sum

__all__ = ["ExpectedGradients", "VarGrad"]


@register
class ExpectedGradients(Explainer):
    """Integrated Gradients from many baselines: gradients at random points between the image and drawn ones, times the way, averaged.

    Args:
        baselines: The distribution that the map is relative to, drawn anew for each sample: `References("train/")` for other images,
            as in the paper, or `RandomColour()`. One that is not random makes this Integrated Gradients with random points.
        samples: Baselines, and points, per image.
        stratified: One point in each of as many equal parts of the way, which lowers the noise at equal passes; False is the
            paper's independent points.

    Source: Erion, Janizek, Sturmfels, Lundberg, Lee 2021, equation 2; deviation: `stratified`.
    """

    baselines: Background
    samples: int = 100
    stratified: bool = True
    category: ClassVar[str] = "path"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    reference: ClassVar[str] = "Erion, Janizek, Sturmfels, Lundberg, Lee: Improving Performance of Deep Learning Models with EG, 2021"
    pitfalls: ClassVar[str] = "Relative to its baselines; with few samples, what they look like stays in the map."
    takes: ClassVar[str] = "`samples` forward, `samples` backward"

    def __post_init__(self) -> None:
        check_at_least(self, 1, "samples")

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(self.samples, self.samples)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        count = self.samples
        maps = torch.zeros_like(images)
        ways: list[Tensor] = [maps]

        def make(start: int, stop: int) -> Tensor:
            pairs = torch.arange(start, stop, device=images.device)
            rows, sample = pairs // count, pairs % count
            base, share = self.points(images[rows], index[rows], sample, seed)
            ways[0] = images[rows] - base
            return base + share * ways[0]

        def take(start: int, stop: int, _scores: Tensor, found: Tensor) -> None:
            rows = torch.arange(start, stop, device=images.device) // count
            segment_sum(maps, rows, torch.full((len(rows),), 1 / count, device=images.device), found * ways[0])

        gradients(model, targets, torch.arange(len(images), device=images.device).repeat_interleave(count), images.shape[1:], make, take)
        return maps

    def points(self, images: Tensor, index: Tensor, sample: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Baselines (P, C, H, W) of pairs of an image and a sample (P,), and the share (P, 1, 1, 1) of the way that each goes."""
        base = self.baselines.fill(images, index * self.samples + sample, derive(seed, "ExpectedGradients.baselines"))
        share = noise.uniform(seed, "ExpectedGradients", index, sample, ())
        share = (sample + share) / self.samples if self.stratified else share
        return base, share.view(-1, 1, 1, 1)


@register
class VarGrad(Explainer):
    """The variance of the gradient over noisy copies of the image, pixel by pixel; never negative.

    It says where the gradient changes, not in which direction a pixel speaks.

    Args:
        sigma: Standard deviation of the noise, in units of a [0, 1] pixel.
        samples: Noisy copies per image; their squares are divided by their number, as in the peers.

    Source: Adebayo, Gilmer, Goodfellow, Kim 2018 (Local Explanation Methods); Seo et al. 2018.
    """

    sigma: float = 0.03
    samples: int = 30
    category: ClassVar[str] = "smoothing"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    reference: ClassVar[str] = "Adebayo, Gilmer, Goodfellow, Kim: Local Explanation Methods for DNNs Lack Sensitivity to Weights, 2018"
    pitfalls: ClassVar[str] = "Where the gradient changes under noise: no sign, and no size of evidence."
    signed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_at_least(self, 0, "sigma")
        check_at_least(self, 2, "samples")

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(self.samples, self.samples)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        count, shape = self.samples, tuple(images.shape[1:])
        first, sums, squares = (torch.zeros_like(images) for _ in range(3))

        def make(start: int, stop: int) -> Tensor:
            pairs = torch.arange(start, stop, device=images.device)
            rows, sample = pairs // count, pairs % count
            return images[rows] + draw(Gaussian(self.sigma), seed, "VarGrad", index[rows], sample, shape)

        def take(start: int, stop: int, _scores: Tensor, found: Tensor) -> None:
            pairs = torch.arange(start, stop, device=images.device)
            rows = pairs // count
            begins = pairs % count == 0
            first[rows[begins]] = found[begins]
            # Relative to each image's first gradient, so that a small variance is not lost beside a large mean.
            moved = found - first[rows]
            each = torch.full((len(rows),), 1 / count, device=images.device)
            segment_sum(sums, rows, each, moved)
            segment_sum(squares, rows, each, moved.square())

        gradients(model, targets, torch.arange(len(images), device=images.device).repeat_interleave(count), images.shape[1:], make, take)
        return (squares - sums.square()).clamp_min_(0.0)
