"""Guided backpropagation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from assay.core.registry import register
from assay.errors import ModelError
from assay.explain.features.layers import called
from assay.explain.gradient import Gradient, GradientExplainer
from assay.models.classifier import Classifier

__all__ = ["GuidedBackprop"]

_RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
_IN_PLACE = (F.relu_, torch.relu_, Tensor.relu_)


@register
class GuidedBackprop(GradientExplainer):
    """The gradient, what is negative of it set to zero at every ReLU on the way back.

    Every ReLU counts, however it is called; other activations keep their gradients. It hardly depends on the weights above the first
    layers or on the class, and draws the edges of the image (Adebayo et al. 2018; Nie, Zhang, Patel 2018): it is here to be compared with.

    Source: Springenberg et al. 2015, section 3.4.
    """

    reference: ClassVar[str] = "Springenberg, Dosovitskiy, Brox, Riedmiller: Striving for Simplicity: The All Convolutional Net, 2015"
    pitfalls: ClassVar[str] = "Draws the image's edges, almost whatever the upper layers' weights or the class are (Adebayo et al. 2018)."

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`.

        Raises:
            ModelError: The network has no ReLU, without which this is the gradient.
        """
        model.count_classes(images.shape[1:])  # What is tried once on new images is no part of this.
        guide = _Guide()
        with called(model), guide:
            maps = Gradient().attribute(model, images, targets, index, seed)
        if not guide.relus:
            raise ModelError(f"{model.name} has no ReLU, where GuidedBackprop is the gradient; take Gradient()")
        return maps


class _Positive(torch.autograd.Function):
    """A ReLU whose gradient is kept only where it is positive."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, in_place: bool) -> Tensor:
        """The ReLU; NaN stays."""
        if in_place:
            ctx.mark_dirty(values)
        passed = torch.relu_(values) if in_place else torch.relu(values)
        ctx.save_for_backward(passed)
        return passed

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        """The positive part of the gradient, where the value was positive."""
        (passed,) = ctx.saved_tensors
        kept: Tensor = torch.ops.aten.threshold_backward(slopes[0], passed, 0.0)
        return kept.clamp_min_(0.0), None


class _Guide(TorchFunctionMode):
    """Puts `_Positive` in the place of every ReLU; by operation, not by module, so that shared and wrapped ones are seen too."""

    def __init__(self) -> None:
        super().__init__()
        self.relus = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func not in _RELUS:
            return func(*args, **kwargs)
        self.relus += 1
        values: Tensor = args[0] if args else kwargs["input"]
        in_place = func in _IN_PLACE or (func is F.relu and bool(args[1] if len(args) > 1 else kwargs.get("inplace", False)))
        return _Positive.apply(values, in_place)
