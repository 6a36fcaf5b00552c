"""pytorch-grad-cam's methods as explainers: `gradcam:ScoreCAM()`, `gradcam:GradCAMPlusPlus(layer='layer4')`."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch
from torch import Tensor

from assay.core.registry import nearest, register_library, stand_in
from assay.errors import ModelError, SpecError
from assay.explain.adapters.common import (
    Logits,
    Options,
    as_maps,
    by_chunks,
    check_options,
    imported,
    layer_name,
    layer_of,
    lent,
    one_by_one,
    spec,
)
from assay.explain.base import Explainer
from assay.explain.features.layers import as_grid, last_layer
from assay.models.classifier import Classifier

__all__ = ["GradCam", "gradcam_of"]

_CALL = ("eigen_smooth", "aug_smooth")
_ATTRIBUTES = ("batch_size",)
"""What the library reads from the object."""
_RANDOM = ("RandomCAM",)


@stand_in
class GradCam(Explainer):
    """A method of pytorch-grad-cam; its maps are what it gives, each scaled to [0, 1] by its own least and largest value.

    Methods that darken the image, such as ScoreCAM, do so in pixels: what they take away becomes black.

    Args:
        method: The class's name in `pytorch_grad_cam`.
        options: `layer`, a layer's name or several (None for the one that `GradCAM` takes), `eigen_smooth`, `aug_smooth`,
            `batch_size`, and parameters of the method's constructor.
        name: What tables call it; None for its spec.
    """

    method: str
    options: Options = ()
    name: str | None = None
    category: ClassVar[str] = "gradcam"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "layer"})
    reference: ClassVar[str] = "Gildenblat and contributors: pytorch-grad-cam, 2021, and the method's own paper"

    def __post_init__(self) -> None:
        own = [name for name in inspect.signature(self._class()).parameters if name not in ("model", "target_layers", "reshape_transform")]
        check_options(f"gradcam:{self.method}", dict(self.options), ["layer", *_CALL, *_ATTRIBUTES, *own])

    def __repr__(self) -> str:
        return spec("gradcam", self.method, self.options)

    @property
    def short_name(self) -> str:
        """What tables call it."""
        return self.name or repr(self)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`.

        Raises:
            ModelError: The network has no such layer, or the library cannot explain it; the message says why.
        """
        assert targets is not None
        chosen = targets
        asked = dict(self.options).get("layer")
        layers = (last_layer(model, images.shape[1:]),) if asked is None else (asked,) if isinstance(asked, str) else tuple(asked)

        def maps_of(rows: slice) -> Tensor:
            with lent(model, f"gradcam:{self.method}", weights=True):
                return self._maps(model, images[rows], chosen[rows], layers)

        if self.method in _RANDOM:
            return one_by_one(index, seed, repr(self), maps_of)
        return by_chunks(model, images, maps_of)

    def _maps(self, model: Classifier, images: Tensor, targets: Tensor, layers: tuple[str, ...]) -> Tensor:
        options = {name: value for name, value in self.options if name != "layer"}
        call = {name: options.pop(name) for name in _CALL if name in options}
        held = {name: options.pop(name) for name in _ATTRIBUTES if name in options}
        size = (images.shape[2], images.shape[3])

        def grid(features: Any) -> Tensor:
            found = as_grid(features, len(features), size)
            if found is None:
                raise ModelError(f"gradcam:{self.method}: the layer {', '.join(layers)} of {model.name} does not lie over the image")
            return found

        cam = self._class()(Logits(model).eval(), [layer_of(model, name) for name in layers], reshape_transform=grid, **options)
        for name, value in held.items():
            setattr(cam, name, value)

        def score_of(row: int) -> Any:
            return lambda logits: model.score(logits[None], targets[row : row + 1])[0]

        found = cam(images.detach().clone().requires_grad_(), [score_of(row) for row in range(len(images))], **call)
        cam.activations_and_grads.release()
        if cam.uses_gradients:
            model.passes.backward += len(images)
        return as_maps(torch.as_tensor(found), images, f"gradcam:{self.method}")

    def _class(self) -> Any:
        module = imported("pytorch_grad_cam", "gradcam")
        base = imported("pytorch_grad_cam.base_cam", "gradcam").BaseCAM
        known = {name: one for name, one in vars(module).items() if inspect.isclass(one) and issubclass(one, base)}
        if known.pop("FullGrad", None) is not None and self.method == "FullGrad":
            raise SpecError("gradcam:FullGrad reads biases that the Classifier folds into others; take FullGrad(), which knows of that")
        if self.method not in known:
            raise SpecError(f"pytorch-grad-cam has no method {self.method}{nearest(self.method, known)} (known: {', '.join(known)})")
        return known[self.method]


def gradcam_of(obj: Any, name: str | None) -> GradCam | None:
    """The explainer of a pytorch-grad-cam class or object; None for anything else; never imports the library.

    Raises:
        ModelError: A layer of the object is not in its network.
    """
    cls = obj if inspect.isclass(obj) else type(obj)
    if not any(one.__module__ == "pytorch_grad_cam.base_cam" and one.__name__ == "BaseCAM" for one in cls.__mro__):
        return None
    if inspect.isclass(obj):
        return GradCam(cls.__name__, name=name)
    layers = tuple(layer_name(layer, obj.model, f"gradcam:{cls.__name__}") for layer in obj.target_layers)
    return GradCam(cls.__name__, (("layer", layers),), name)


def _made(method: str, args: tuple[Any, ...], options: dict[str, Any]) -> GradCam:
    if args:
        raise SpecError(f"give the options of gradcam:{method} by name")
    return GradCam(method, tuple(options.items()))


register_library("gradcam", _made)
