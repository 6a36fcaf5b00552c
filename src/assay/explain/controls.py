"""Maps that never ask the model: what an explainer has to say more than."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.core import noise
from assay.core.registry import register
from assay.explain.base import Cost, Explainer
from assay.models.classifier import Classifier

__all__ = ["Centre", "ColourContrast", "Edges", "RandomMap"]

_NEIGHBOURS = 5


@register
class Edges(Explainer):
    """The size of the brightness's Sobel gradient, (N, 1, H, W): what the image alone shows of shapes.

    Source: Sobel, Feldman 1968; as a rival of maps, Adebayo et al. 2018 (section 5.1).
    """

    category: ClassVar[str] = "control"
    reference: ClassVar[str] = "Adebayo et al.: Sanity Checks for Saliency Maps, NeurIPS 2018 (edge detector)"
    pitfalls: ClassVar[str] = "Knows nothing of the model."
    signed: ClassVar[bool] = False
    finds_targets: ClassVar[bool] = True

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(0)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        grey = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        across = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]], device=images.device)
        return F.conv2d(grey, torch.stack([across, across.T])[:, None]).square().sum(1, keepdim=True).sqrt()


@register
class ColourContrast(Explainer):
    """How far the colour is from the image's median colour, (N, 1, H, W), as a mean over 5 x 5 pixels.

    Source: ours.
    """

    category: ClassVar[str] = "control"
    reference: ClassVar[str] = "none: the image's contrast, a rival of every map"
    pitfalls: ClassVar[str] = "Knows nothing of the model."
    signed: ClassVar[bool] = False
    finds_targets: ClassVar[bool] = True

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(0)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        median = images.flatten(2).median(2).values[:, :, None, None]
        far = (images - median).square().sum(1, keepdim=True).sqrt()
        return F.avg_pool2d(far, _NEIGHBOURS, 1, _NEIGHBOURS // 2, count_include_pad=False)


@register
class Centre(Explainer):
    """The same blob in the middle of every image, (N, 1, H, W): photographers centre what they show.

    Its height at (u, v) is `exp(-2 (u^2 + v^2))`, the image's sides being [-1, 1].

    Source: the centre prior of visual saliency (Judd et al. 2009).
    """

    category: ClassVar[str] = "control"
    reference: ClassVar[str] = "Judd, Ehinger, Durand, Torralba: Learning to Predict Where Humans Look, ICCV 2009 (centre prior)"
    pitfalls: ClassVar[str] = "Knows nothing of the model."
    signed: ClassVar[bool] = False
    finds_targets: ClassVar[bool] = True

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(0)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        down, across = ((2 * torch.arange(side, device=images.device) + 1 - side) / side for side in images.shape[2:])
        return torch.exp(-2 * (down[:, None] ** 2 + across**2)).expand(len(images), 1, -1, -1).clone()


@register
class RandomMap(Explainer):
    """Independent normal pixels that know nothing of the model, and change altogether with the smallest change of the image."""

    category: ClassVar[str] = "control"
    reference: ClassVar[str] = "none: the floor of every table"
    pitfalls: ClassVar[str] = "Knows nothing of the model."
    finds_targets: ClassVar[bool] = True

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(0)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        content = images.flatten(1).view(torch.int32).to(torch.int64)
        places = torch.arange(1, content.shape[1] + 1, device=images.device)
        stamp = (content * (2 * places + 1)).sum(1)
        return noise.normal(seed, "RandomMap", index, stamp, tuple(images.shape[1:]))
