"""Explainers from anything: a function, an object of Captum, zennit or pytorch-grad-cam."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch
from torch import Tensor

from assay.core.noise import derive
from assay.core.registry import stand_in
from assay.errors import ImageTypeError, SpecError
from assay.explain.adapters.captum import Captum, is_captum
from assay.explain.adapters.common import as_maps, by_chunks
from assay.explain.adapters.gradcam import gradcam_of
from assay.explain.adapters.zennit import Zennit, is_zennit
from assay.explain.base import Explainer
from assay.models.classifier import Classifier
from assay.models.seeded import seeded

__all__ = ["Wrapped", "wrap"]


@stand_in
class Wrapped(Explainer):
    """A function as an explainer; see `wrap`. Two are equal when they call the same function by the same name."""

    call: Any
    name: str
    category: ClassVar[str] = "wrapped"
    reference: ClassVar[str] = "a function of your own"

    def __repr__(self) -> str:
        return f"wrap({getattr(self.call, '__qualname__', type(self.call).__qualname__)}, {self.name!r})"

    @property
    def short_name(self) -> str:
        """What tables call it."""
        return self.name

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`.

        Raises:
            ShapeError: The function gives no maps of these images.
        """
        assert targets is not None
        chosen, takes = targets, _extra(self.call)

        def maps_of(rows: slice) -> Tensor:
            more = {name: value for name, value in (("seed", seed), ("index", index[rows])) if name in takes}
            first = derive(derive(seed, "wrap"), str(int(index[rows][0])))
            with seeded(first, images.device), torch.inference_mode(False), torch.enable_grad():
                found = self.call(model, images[rows].detach().clone(), chosen[rows], **more)
            return as_maps(found, images[rows], self.name)

        return by_chunks(model, images, maps_of)


def wrap(obj: Any, name: str | None = None, **options: Any) -> Explainer:
    """Make an explainer of something that makes maps.

    Args:
        obj: A callable `(model, images, targets) -> maps`, with `model` a Classifier, which may be called like a network,
            `images` (n, C, H, W) in [0, 1], `targets` (n,) class ids, and maps a tensor or array (n, H, W), (n, 1, H, W) or
            (n, C, H, W); where it has parameters `seed` or `index` (the images' global numbers) it gets them too. It may be
            called with fewer images at a time. Or a Captum attribution object, a zennit composite or its `Gradient`
            attributor, a pytorch-grad-cam class or object: these are run on the Classifier that is explained, not on the
            network that they were made with. An explainer is given back as it is.
        name: What tables call it; None for the function's or the class's own name.
        **options: What a Captum object's `attribute` or a pytorch-grad-cam class takes, such as `strides=` or `layer=`.

    Raises:
        SpecError: It is nothing of the kind, or `options` do not go with it.
    """
    if isinstance(obj, Explainer):
        _no_options(obj, options)
        return obj
    if is_captum(obj):
        return Captum(type(obj).__name__, tuple(options.items()), obj, name or type(obj).__name__)
    if is_zennit(obj):
        _no_options(obj, options)
        composite = getattr(obj, "composite", obj)
        if composite is not obj and type(obj).__name__ != "Gradient":
            raise SpecError(f"of zennit's attributors only Gradient is taken, not {type(obj).__name__}; smooth by assay.Smoothed")
        if composite is None:
            raise SpecError("this zennit attributor has no composite; take assay.Gradient()")
        return Zennit(type(composite).__name__, (), composite, name or type(composite).__name__)
    cam = gradcam_of(obj, name, options)
    if cam is not None:
        return cam
    if inspect.isclass(obj) or not callable(obj):
        raise ImageTypeError(
            f"cannot make an explainer of {obj!r}: give a function (model, images, targets) -> maps, a Captum attribution object, "
            "a zennit composite, or a pytorch-grad-cam class"
        )
    _no_options(obj, options)
    _check_parameters(obj)
    return Wrapped(obj, name or str(getattr(obj, "__name__", type(obj).__name__)))


def _no_options(obj: object, options: dict[str, Any]) -> None:
    if options:
        raise SpecError(f"wrap takes {', '.join(options)} only with an object of Captum or pytorch-grad-cam, not {type(obj).__name__}")


def _check_parameters(call: Any) -> None:
    try:
        inspect.signature(call).bind(None, None, None, **dict.fromkeys(_extra(call)))
    except ValueError:  # Some functions written in C do not say what they take.
        return
    except TypeError as error:
        raise SpecError(
            f"{getattr(call, '__name__', call)} must take (model, images, targets), and may take seed and index: {error}"
        ) from error


def _extra(call: Any) -> frozenset[str]:
    """Which of `seed` and `index` a function takes."""
    try:
        return frozenset(inspect.signature(call).parameters) & {"seed", "index"}
    except (TypeError, ValueError):
        return frozenset()
