"""Class activation maps: which features of a layer speak for the class, and where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from assay.core.registry import register
from assay.errors import ModelError
from assay.explain.features.layers import Layout, check_layer, last_layer, layout_of, watched
from assay.explain.features.over_image import LayerExplainer, Small, over_image
from assay.models.classifier import Classifier

__all__ = ["GradCAM", "GradCAMpp", "LayerCAM", "grad_cam", "grad_cam_pp", "layer_cam", "layer_for"]


@register
class GradCAM(LayerExplainer):
    """A layer's features weighted by their channels' mean gradients, summed, what is negative set to zero, made as large as the image.

    Maps are (N, 1, H, W) and never negative. The features are what the layer gives: a ReLU that is applied to them later, as
    a function, is not in them. Of a layer that runs several times, the last run counts.

    Args:
        layer: The layer's name in the network (`net.named_modules()`); None for the last with features that lie over the
            image and through which all goes that the score owes to it (`last_layer`); `layer_for` says which that is.

    Source: Selvaraju et al. 2017, equations 1 and 2; bilinear upsampling.
    """

    layer: str | None = None
    reference: ClassVar[str] = "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM, ICCV 2017"
    pitfalls: ClassVar[str] = "As coarse as its layer; mean gradients lose what is local, and may leave a map of zeros."

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`.

        Raises:
            ModelError: The network has no such layer, or its output does not lie over the image or does not reach the score.
        """
        return over_image(model, images, targets, _small(model, images.shape[1:], self.layer, grad_cam))


@register
class GradCAMpp(LayerExplainer):
    """GradCAM whose channels are weighted by their positive gradients, each place by how much of the channel it takes to explain the score.

    Maps are (N, 1, H, W) and never negative; layers as in `GradCAM`.

    Args:
        layer: See `GradCAM`.

    Source: Chattopadhay et al. 2018, equations 5, 7 and 19; deviations: nothing is added to the divisor `2 + sum(features) * gradient`,
    and a place has no weight where it is not positive, which it is for features after a ReLU, the paper's case.
    """

    layer: str | None = None
    reference: ClassVar[str] = "Chattopadhay, Sarkar, Howlader, Balasubramanian: Grad-CAM++, WACV 2018"
    pitfalls: ClassVar[str] = "As coarse as its layer; only what speaks for the class counts; made for features after a ReLU."

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `GradCAM.attribute`."""
        return over_image(model, images, targets, _small(model, images.shape[1:], self.layer, grad_cam_pp))


@register
class LayerCAM(LayerExplainer):
    """A layer's features, each weighted by its own positive gradient, summed, what is negative set to zero, made as large as the image.

    Maps are (N, 1, H, W) and never negative; layers as in `GradCAM`. Since each place has a weight of its own, early layers serve too.

    Args:
        layer: See `GradCAM`.

    Source: Jiang et al. 2021, equations 4 to 6; bilinear upsampling.
    """

    layer: str | None = None
    reference: ClassVar[str] = "Jiang, Zhang, Hou, Cheng, Wei: LayerCAM: Exploring Hierarchical Class Activation Maps, TIP 2021"
    pitfalls: ClassVar[str] = "As coarse as its layer; only what speaks for the class counts."

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `GradCAM.attribute`."""
        return over_image(model, images, targets, _small(model, images.shape[1:], self.layer, layer_cam))


def layer_for(model: Classifier, shape: Sequence[int], layer: str | None = None) -> str:
    """Name of the layer whose features are taken, for images of `shape` (C, H, W).

    Args:
        model: The model.
        shape: (C, H, W) of an image.
        layer: The wanted one; None for the last that serves.

    Raises:
        ModelError: The network has no such layer.
    """
    return last_layer(model, torch.Size(shape)) if layer is None else check_layer(model, layer)


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Maps (N, 1, h, w) of features and their gradients, both (N, C, h, w)."""
    return torch.einsum("nc,nchw->nhw", gradients.mean((2, 3)), features).clamp_min(0.0)[:, None]


def grad_cam_pp(features: Tensor, gradients: Tensor) -> Tensor:
    """Maps (N, 1, h, w) of features and their gradients, both (N, C, h, w)."""
    divisor = 2 + features.sum((2, 3), keepdim=True) * gradients
    each = torch.where(divisor > 0, gradients.clamp_min(0.0) / divisor.where(divisor > 0, 1.0), 0.0 * gradients)
    return torch.einsum("nc,nchw->nhw", each.sum((2, 3)), features).clamp_min(0.0)[:, None]


def layer_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Maps (N, 1, h, w) of features and their gradients, both (N, C, h, w)."""
    return (gradients.clamp_min(0.0) * features).sum(1, keepdim=True).clamp_min(0.0)


def _small(model: Classifier, shape: torch.Size, layer: str | None, combine: Callable[[Tensor, Tensor], Tensor]) -> Small:
    """Gives the maps of what `combine` makes of a layer's features and gradients."""
    name = layer_for(model, shape, layer)
    layout = layout_of(model, name, shape)

    def small(images: Tensor, targets: Tensor | None) -> Tensor:
        features, gradients = _features(model, name, layout, images, targets)
        return combine(features.float(), gradients.float())

    return small


def _features(model: Classifier, layer: str, layout: Layout, images: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """The layer's features (n, C, h, w) and the score's gradients at them; the graph begins only there."""
    leaves: list[Tensor] = []

    def branch(output: Any) -> Tensor | None:
        if not layout.fits(output, len(images)):
            return None
        leaves[:] = [output.detach().requires_grad_()]
        # A copy, so that what works in place on the output leaves the features as they were.
        return leaves[0].clone()

    with torch.inference_mode(False), torch.enable_grad(), watched(model, {layer: branch}):
        logits = model.forward(images)
        score = model.score(logits, model.choose(logits) if targets is None else targets)
        gradient = torch.autograd.grad(score.sum(), leaves[0], allow_unused=True)[0] if score.requires_grad else None
    if gradient is None:
        raise ModelError(f"the score of {model.name} does not depend on its layer {layer}; name another by layer=")
    model.passes.backward += len(images)
    return layout.grid(leaves[0].detach()), layout.grid(gradient)
