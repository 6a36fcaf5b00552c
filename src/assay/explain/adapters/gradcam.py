"""pytorch-grad-cam's methods as explainers: `gradcam:ScoreCAM()`, `gradcam:GradCAMPlusPlus(layer='layer4')`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import FunctionType, SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor

from assay.core.registry import register_library, stand_in
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
    unknown,
)
from assay.explain.base import Explainer
from assay.explain.features.layers import as_grid, last_layer
from assay.models.classifier import Classifier

__all__ = ["GradCam", "gradcam_of"]

_CALL = ("eigen_smooth", "aug_smooth")
_ATTRIBUTES = ("batch_size",)
"""What the library reads from the object."""
_OURS = ("model", "target_layers")
_RANDOM = ("RandomCAM", "KPCA_CAM")
"""What draws from NumPy's generator; KPCA_CAM does where its features have more than 200 places."""


@stand_in
class GradCam(Explainer):
    """A method of pytorch-grad-cam; its maps are what it gives, each scaled to [0, 1] by its own least and largest value.

    Methods that darken the image, such as ScoreCAM, do so in pixels: what they take away becomes black.

    Args:
        method: The class's name in `pytorch_grad_cam`.
        options: `layer`, a layer's name or several (None for the one that `GradCAM` takes), `eigen_smooth`, `aug_smooth`,
            `batch_size`, and parameters of the method's constructor.
        made: A class of that name which is not the library's own.
        name: What tables call it; None for its spec.
    """

    method: str
    options: Options = ()
    made: Any = None
    name: str | None = None
    category: ClassVar[str] = "gradcam"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "layer"})
    reference: ClassVar[str] = "Gildenblat and contributors: pytorch-grad-cam, 2021, and the method's own paper"

    def __post_init__(self) -> None:
        check_options(f"gradcam:{self.method}", dict(self.options), ["layer", *_CALL, *_ATTRIBUTES, *_parameters(self._class())])

    def __repr__(self) -> str:
        return spec("gradcam", self.method, self.options) if self.made is None else f"wrap({self.method}, {self.short_name!r})"

    @property
    def short_name(self) -> str:
        """What tables call it."""
        return self.name or spec("gradcam", self.method, self.options)

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

        options.setdefault("reshape_transform", grid)
        cam = _without_bar(self._class())(Logits(model).eval(), [layer_of(model, name) for name in layers], **options)
        for name, value in held.items():
            setattr(cam, name, value)
        twice = not getattr(cam, "detach", True)
        # What derives gradients anew has nothing to derive in a network of ReLUs, unless its weights count.
        model.module.requires_grad_(twice)

        def score_of(row: int) -> Any:
            return lambda logits: model.score(logits[None], targets[row : row + 1])[0]

        found = cam(images.detach().clone().requires_grad_(), [score_of(row) for row in range(len(images))], **call)
        cam.activations_and_grads.release()
        if cam.uses_gradients:
            times = len(cam.tta_transforms) if call.get("aug_smooth") else 1
            model.passes.backward += times * (1 + twice) * len(images)
        return as_maps(torch.as_tensor(found), images, f"gradcam:{self.method}")

    def _class(self) -> Any:
        if self.made is not None:
            return self.made
        module = imported("pytorch_grad_cam", "gradcam")
        base = imported("pytorch_grad_cam.base_cam", "gradcam").BaseCAM
        known = {name: one for name, one in vars(module).items() if inspect.isclass(one) and issubclass(one, base)}
        if known.pop("FullGrad", None) is not None and self.method == "FullGrad":
            raise SpecError("gradcam:FullGrad reads biases that the Classifier folds into others; take FullGrad(), which knows of that")
        if self.method not in known:
            raise unknown("gradcam", self.method, known, module, "is none of its methods that weigh a layer's channels")
        return known[self.method]


def _parameters(cls: Any) -> dict[str, inspect.Parameter]:
    """What a method's constructor takes, but for what the Classifier gives."""
    return {name: one for name, one in inspect.signature(cls).parameters.items() if name not in _OURS}


def _without_bar(cls: Any) -> Any:
    """The class with no progress bar of its own: the method that draws one is copied, with another `tqdm` among its globals."""
    weigh = cls.get_cam_weights
    if "tqdm" not in weigh.__code__.co_names:
        return cls
    world = {**weigh.__globals__, "tqdm": SimpleNamespace(tqdm=iter)}
    quiet = FunctionType(weigh.__code__, world, weigh.__name__, weigh.__defaults__, weigh.__closure__)
    return type(cls.__name__, (cls,), {"get_cam_weights": quiet})


def gradcam_of(obj: Any, name: str | None, options: Mapping[str, Any]) -> GradCam | None:
    """The explainer of a pytorch-grad-cam class or object; None for anything else; never imports the library.

    Raises:
        ModelError: A layer of the object is not in its network.
    """
    cls = obj if inspect.isclass(obj) else type(obj)
    if not any(one.__module__ == "pytorch_grad_cam.base_cam" and one.__name__ == "BaseCAM" for one in cls.__mro__):
        return None
    made = None if cls.__module__.partition(".")[0] == "pytorch_grad_cam" else cls
    if inspect.isclass(obj):
        return GradCam(cls.__name__, tuple(options.items()), made, name)
    layers = tuple(layer_name(layer, obj.model, f"gradcam:{cls.__name__}") for layer in obj.target_layers)
    held = {key: getattr(obj, key) for key in (*_parameters(cls), *_ATTRIBUTES) if hasattr(obj, key)}
    usual = {key: one.default for key, one in _parameters(cls).items()}
    kept = {key: value for key, value in held.items() if value is not usual.get(key) and value != usual.get(key)}
    return GradCam(cls.__name__, tuple(({"layer": layers} | kept | dict(options)).items()), made, name)


def _made(method: str, args: tuple[Any, ...], options: dict[str, Any]) -> GradCam:
    if args:
        raise SpecError(f"give the options of gradcam:{method} by name")
    return GradCam(method, tuple(options.items()))


register_library("gradcam", _made)
