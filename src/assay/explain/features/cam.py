"""GradCAM: which features of a layer speak for the class, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from assay.core.registry import register
from assay.errors import ModelError
from assay.explain.base import Explainer
from assay.explain.features.layers import Layout, check_layer, last_layer, layout_of, watched
from assay.models.classifier import Classifier

__all__ = ["GradCAM", "grad_cam"]


@register
class GradCAM(Explainer):
    """A layer's features weighted by their channels' mean gradients, summed, what is negative set to zero, made as large as the image.

    Maps are (N, 1, H, W) and never negative. The features are what the layer gives: a ReLU that is applied to them later, as
    a function, is not in them. Of a layer that runs several times, the last run counts.

    Args:
        layer: The layer's name in the network (`net.named_modules()`); None for the last with features that lie over the
            image and through which all goes that the score owes to it (`last_layer`); `layer_of` says which that is.

    Source: Selvaraju et al. 2017, equations 1 and 2; bilinear upsampling.
    """

    layer: str | None = None
    category: ClassVar[str] = "layer"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "layer"})
    reference: ClassVar[str] = "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM, ICCV 2017"
    finds_targets: ClassVar[bool] = True

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:  # noqa: ARG002
        """See `Explainer.attribute`.

        Raises:
            ModelError: The network has no such layer, or its output does not lie over the image or does not reach the score.
        """
        shape = images.shape[1:]
        layer = self.layer_of(model, shape)
        layout = layout_of(model, layer, shape)
        maps = images.new_empty(len(images), 1, *shape[1:])

        def step(start: int, stop: int) -> None:
            chosen = None if targets is None else targets[start:stop]
            features, gradients = _features(model, layer, layout, images[start:stop], chosen)
            small = grad_cam(features.float(), gradients.float())
            maps[start:stop] = interpolate(small, tuple(shape[1:]), mode="bilinear", align_corners=False)

        model.run(len(images), shape, True, step)
        return maps

    def layer_of(self, model: Classifier, shape: Sequence[int]) -> str:
        """Name of the layer whose features are taken, for images of `shape` (C, H, W).

        Args:
            model: The model.
            shape: (C, H, W) of an image.

        Raises:
            ModelError: The network has no such layer.
        """
        return last_layer(model, torch.Size(shape)) if self.layer is None else check_layer(model, self.layer)


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Maps (N, 1, h, w) of features and their gradients, both (N, C, h, w)."""
    return torch.einsum("nc,nchw->nhw", gradients.mean((2, 3)), features).relu_()[:, None]


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
        raise ModelError(f"the score of {model.name} does not depend on its layer {layer}; name another for GradCAM")
    model.passes.backward += len(images)
    return layout.grid(leaves[0].detach()), layout.grid(gradient)
