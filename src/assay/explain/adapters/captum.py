"""Captum's attribution methods as explainers: `captum:Occlusion(sliding_window_shapes=(3, 16, 16), strides=(3, 8, 8))`."""

from __future__ import annotations

import copy
import inspect
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from assay.core.registry import register_library, stand_in
from assay.errors import SpecError
from assay.explain.adapters.common import (
    Options,
    ScoreModule,
    as_maps,
    by_chunks,
    check_options,
    imported,
    layer_name,
    layer_of,
    lent,
    network_input,
    one_by_one,
    spec,
    unknown,
)
from assay.explain.base import Explainer
from assay.explain.superpixels.segments import Segments
from assay.models.classifier import Classifier

__all__ = ["Captum", "is_captum"]

_OURS = ("forward_func", "model", "inputs", "target", "additional_forward_args", "return_convergence_delta", "show_progress", "kwargs")
"""Parameters that Captum's methods get from the Classifier, or that a map has no use for."""
_RANDOM = ("NoiseTunnel", "GradientShap", "LayerGradientShap", "Lime", "KernelShap", "ShapleyValueSampling")
_NOT = ("Neuron", "LLM", "Remote", "DataLoader", "FeaturePermutation", "LayerFeaturePermutation", "LimeBase")
"""Beginnings of names of methods that give no map of an image, or one that depends on the other images of the batch."""


@stand_in
class Captum(Explainer):
    """A method of Captum, run on the Classifier's own network: pixels, targets, what is explained and passes are the Classifier's.

    Parameters are those of the method's constructor and of its `attribute`, by their own names and with their own defaults;
    `layer` is a layer's name, `feature_mask` superpixels such as `Grid(rows=7, columns=7)`, `baselines` a number in pixels. Maps
    of layers are summed over channels and made as large as the image (bilinear). Relevances of LRP are those of the network's
    normalised input. Methods that draw at random work image by image, each seeded by its own number.

    Args:
        method: The class's name in `captum.attr`.
        options: Its parameters, by name.
        made: An object of that class, whose constructor's parameters are kept; its network is replaced by the Classifier's.
        name: What tables call it; None for its spec.
    """

    method: str
    options: Options = ()
    made: Any = None
    name: str | None = None
    category: ClassVar[str] = "captum"
    reference: ClassVar[str] = "Kokhlikyan et al.: Captum, 2020, and the method's own paper"

    def __post_init__(self) -> None:
        what = f"captum:{self.method}"
        cls = self._class()
        inner = self._option("attribution_method")
        if self.method == "NoiseTunnel" and self.made is None and not isinstance(inner, Captum):
            raise SpecError("captum:NoiseTunnel needs the method to smooth first: captum:NoiseTunnel(captum:Saliency(), nt_samples=10)")
        known = {name for name in (*self._parameters(cls.attribute), *self._parameters(cls.__init__)) if name not in _OURS}
        check_options(what, dict(self.options), sorted(known))
        needed = [name for name, one in self._all(cls).items() if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
        missing = [name for name in needed if name not in (*_OURS, "baselines") and self._option(name) is None and self.made is None]
        if missing:
            raise SpecError(f"{what} needs {', '.join(missing)}")

    def __repr__(self) -> str:
        return spec("captum", self.method, self.options) if self.made is None else f"wrap(captum.attr.{self.method}, {self.short_name!r})"

    @property
    def short_name(self) -> str:
        """What tables call it."""
        return self.name or spec("captum", self.method, self.options)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Whether it takes gradients."""
        attr = imported("captum.attr", "captum")
        cls = self._class()
        whole = issubclass(cls, attr.PerturbationAttribution) and "GradientShap" not in self.method
        return frozenset() if whole else frozenset({"gradient"})

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`.

        Raises:
            ModelError: Captum cannot explain this network by this method; the message says why.
        """
        assert targets is not None
        chosen = targets

        def maps_of(rows: slice) -> Tensor:
            with lent(model, f"captum:{self.method}", weights="LRP" in self.method):
                return self._maps(model, images[rows], chosen[rows])

        if self._random():
            return one_by_one(index, seed, repr(self), maps_of)
        return by_chunks(model, images, maps_of)

    def _maps(self, model: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        scores = ScoreModule(model).eval()
        method = self._method(model, scores)
        given = {name: _value(value, images) for name, value in self._attribute_options().items()}
        own = self._parameters(self._class().attribute)
        if "baselines" in own and own["baselines"].default is inspect.Parameter.empty:
            # A distribution of baselines: rows, of which Captum wants several.
            given["baselines"] = torch.full((2, *images.shape[1:]), float(given.get("baselines") or 0.0), device=images.device)
        if "internal_batch_size" in own:
            given.setdefault("internal_batch_size", 2 * len(images))
        if "LRP" in self.method:
            method.gradient_func = _at_network_input(model)
        pixels = images.detach().clone()
        found = method.attribute(pixels.requires_grad_(bool(self.needs)), additional_forward_args=(targets,), **given)
        if isinstance(found, Tensor) and found.ndim == 4 and found.shape[2:] != images.shape[2:]:
            # A layer's: one value per place, over the whole image.
            found = interpolate(found.detach().float().sum(1, keepdim=True), tuple(images.shape[2:]), mode="bilinear", align_corners=False)
        elif self._of_layer() and isinstance(found, Tensor) and found.ndim == 4:
            found = found.sum(1, keepdim=True)
        if self.needs:
            model.passes.backward += len(images)
        return as_maps(found, images, f"captum:{self.method}")

    def _class(self) -> Any:
        attr = imported("captum.attr", "captum")
        known = [
            name
            for name in dir(attr)
            if inspect.isclass(one := getattr(attr, name)) and hasattr(one, "attribute") and not name.startswith(_NOT)
        ]
        if self.method not in known:
            raise unknown("captum", self.method, known, attr, "gives no map of an image's score that depends on this image alone")
        return getattr(attr, self.method)

    @staticmethod
    def _parameters(function: Any) -> dict[str, inspect.Parameter]:
        return {name: one for name, one in inspect.signature(function).parameters.items() if name != "self"}

    def _all(self, cls: Any) -> dict[str, inspect.Parameter]:
        return self._parameters(cls.__init__) | self._parameters(cls.attribute)

    def _option(self, name: str) -> Any:
        return dict(self.options).get(name)

    def _attribute_options(self) -> dict[str, Any]:
        """What goes to `attribute`, that of a smoothed method included."""
        own = {name: value for name, value in self.options if name in self._parameters(self._class().attribute)}
        inner = self._option("attribution_method")
        return (inner._attribute_options() if isinstance(inner, Captum) else {}) | own

    def _of_layer(self) -> bool:
        """Whether its maps are of a layer's channels, also where it smooths another."""
        inner = self._option("attribution_method") or getattr(self.made, "attribution_method", None)
        if isinstance(inner, Captum):
            return inner._of_layer()
        made = type(inner) if inner is not None else self._class()
        return issubclass(made, imported("captum.attr", "captum").LayerAttribution)

    def _random(self) -> bool:
        return self.method in _RANDOM

    def _method(self, model: Classifier, scores: ScoreModule) -> Any:
        if self.made is not None:
            return _rewired(self.made, model, scores, f"captum:{self.method}")
        cls = self._class()
        own = {name: value for name, value in self.options if name in self._parameters(cls.__init__)}
        if "layer" in own:
            own["layer"] = layer_of(model, own["layer"])
        if "attribution_method" in own:
            return cls(own["attribution_method"]._method(model, scores))
        return cls(scores, **own)


def _value(value: Any, images: Tensor) -> Any:
    if isinstance(value, Segments):
        return value.labels(images)[:, None]
    return value.to(images.device) if isinstance(value, Tensor) else value


def is_captum(obj: object) -> bool:
    """Whether this is one of Captum's attribution objects; never imports Captum."""
    return any(cls.__module__.startswith("captum.") and cls.__name__ == "Attribution" for cls in type(obj).__mro__)


def _rewired(made: Any, model: Classifier, scores: ScoreModule, who: str) -> Any:
    """A copy of a Captum object that explains the Classifier instead of its own network."""
    new = copy.copy(made)
    own = made.forward_func
    for key, value in vars(made).items():
        if is_captum(value):
            setattr(new, key, _rewired(value, model, scores, who))
        elif key in ("forward_func", "model"):
            setattr(new, key, scores)
        elif isinstance(value, nn.Module) and key == "layer":
            setattr(new, key, layer_of(model, layer_name(value, own if isinstance(own, nn.Module) else None, who)))
    return new


def _at_network_input(model: Classifier) -> Any:
    """Captum's gradient at what the network is given in place of the pixels, whose normalisation would scale relevances."""

    def gradient(run: Any, inputs: Any, target: Any = None, extra: Any = None) -> tuple[Tensor, ...]:  # noqa: ARG001
        with torch.autograd.set_grad_enabled(True), network_input(model) as seen:
            total = run(*inputs, *((extra,) if isinstance(extra, Tensor) else extra or ())).sum()
            return tuple(one.float() for one in torch.autograd.grad(total, seen[-1]))

    return gradient


def _made(method: str, args: tuple[Any, ...], options: dict[str, Any]) -> Captum:
    if args:
        if len(args) > 1 or method != "NoiseTunnel":
            raise SpecError(f"give the options of captum:{method} by name")
        options = {"attribution_method": args[0], **options}
    return Captum(method, tuple(options.items()))


register_library("captum", _made)
