"""FullGrad: the score of a ReLU network is owed to its pixels and to its biases, and each bias has a place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from assay.core.registry import register
from assay.core.surroundings import undisturbed
from assay.errors import ModelError
from assay.explain.base import check_call
from assay.explain.features.layers import lies_over, uncompiled
from assay.explain.features.over_image import LayerExplainer, enlarged
from assay.models.classifier import Classifier
from assay.models.passes import gradients
from assay.models.targets import Targets

__all__ = ["FullGrad", "SimpleFullGrad", "Watch", "rescaled"]

Scaling = Literal["layer", "channel"]
See = Callable[[Tensor, Tensor, bool], None]
"""Receives gradients (n, C, ...), what they are multiplied with (the network's input, or biases as (1, C, 1, ...)), and whether
that is the input."""

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_BATCH_NORM = inspect.signature(F.batch_norm)


@register
class FullGrad(LayerExplainer):
    """Gradient times input and gradients times biases of all layers, each rescaled to [0, 1], upsampled and added.

    Every bias that a convolution, linear layer or batch norm adds counts, however it is called; a batch norm's includes its
    mean's share, and one that `Classifier` folds into a convolution makes one bias with it. Maps are (N, 1, H, W) and never
    negative, since rescaling takes magnitudes.

    Args:
        scaling: "layer" rescales all channels of a layer together, as the authors' code does; "channel" each on its own.

    Source: Srinivas, Fleuret 2019, equations 2 and 6; deviations: nothing is added to the divisor when rescaling, and
    corners are not aligned when upsampling.
    """

    scaling: Scaling = "layer"
    reference: ClassVar[str] = "Srinivas, Fleuret: Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019"
    pitfalls: ClassVar[str] = "No sign; after rescaling every layer counts alike, whatever it contributes."

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`.

        Raises:
            ModelError: The network has no convolution.
        """
        return _maps(model, images, targets, self.scaling, lambda slopes, factor, _is_input: slopes * factor)

    @undisturbed()
    def residual(self, model: Classifier, images: Tensor, targets: Targets | None = None) -> Tensor:
        """What gradients at input and biases leave unexplained, (N,): f(image) - gradient . input - sum of gradients x biases.

        It is zero, up to rounding, for the logits of a network that is piecewise linear (ReLU, max pooling, batch norm).

        Args:
            model: The model that is explained.
            images: (N, C, H, W), pixels in [0, 1].
            targets: See `Explainer`; None for the predicted classes.
        """
        home = images.device if isinstance(images, Tensor) else None
        images, aims, _ = check_call(model, images, targets, None)
        left = torch.empty(len(images), dtype=torch.float64, device=images.device)
        explained: list[Tensor] = []

        def see(slopes: Tensor, factor: Tensor, _is_input: bool) -> None:
            explained.append((slopes * factor).flatten(1).double().sum(1))

        def take(start: int, stop: int, scores: Tensor) -> None:
            left[start:stop] = scores.double() - torch.stack([part.view(stop - start, -1).sum(1) for part in explained]).sum(0)

        _backward(model, images, aims, explained.clear, see, take)
        return left.float().to(home)


@register
class SimpleFullGrad(LayerExplainer):
    """FullGrad with the bare gradients at all layers with a bias in place of gradients times biases.

    Args:
        scaling: See `FullGrad`.

    Source: the authors' code of Srinivas, Fleuret 2019; deviations as for `FullGrad`.
    """

    scaling: Scaling = "layer"
    reference: ClassVar[str] = "Srinivas, Fleuret: Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019"
    pitfalls: ClassVar[str] = "No sign; after rescaling every layer counts alike, whatever it contributes."

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `FullGrad.attribute`."""
        return _maps(model, images, targets, self.scaling, lambda slopes, factor, is_input: slopes * factor if is_input else slopes)


def rescaled(values: Tensor, scaling: Scaling) -> Tensor:
    """Magnitudes of (n, C, h, w), moved and scaled to [0, 1] for each image, or each of its channels, and summed over channels."""
    over = (1, 2, 3) if scaling == "layer" else (2, 3)
    sizes = values.abs()
    sizes = sizes - sizes.amin(over, keepdim=True)
    most = sizes.amax(over, keepdim=True)
    return (sizes / most.masked_fill(most == 0, 1.0)).sum(1, keepdim=True)


def _maps(
    model: Classifier, images: Tensor, targets: Tensor | None, scaling: Scaling, term: Callable[[Tensor, Tensor, bool], Tensor]
) -> Tensor:
    """Sum (N, 1, H, W) of the rescaled and upsampled terms of all layers that lie over the image."""
    shape = images.shape[1:]
    maps = images.new_empty(len(images), 1, *shape[1:])
    sums: list[Tensor] = []

    def see(slopes: Tensor, factor: Tensor, is_input: bool) -> None:
        if slopes.ndim == 4:
            # Summing channels first gives the same as upsampling each, at a fraction of the work.
            part = enlarged(rescaled(term(slopes, factor, is_input), scaling), shape)
            sums[:] = [sums[0].add_(part) if sums else part]

    def take(start: int, stop: int, _scores: Tensor) -> None:
        maps[start:stop] = sums[0]

    _backward(model, images, targets, sums.clear, see, take)
    return maps


def _backward(
    model: Classifier,
    images: Tensor,
    targets: Tensor | None,
    begin: Callable[[], None],
    see: See,
    take: Callable[[int, int, Tensor], None],
) -> None:
    """Go forward and backward once, a chunk at a time: `begin()`, `see` for the input and every bias, `take(start, stop, scores)`."""
    watch = Watch(model.name, see)

    def make(start: int, stop: int) -> Tensor:
        begin()
        return images[start:stop]

    def finish(start: int, stop: int, scores: Tensor, _found: Tensor) -> None:
        if not watch.convolutions:
            raise ModelError(
                f"{model.name} has no convolution, whose biases FullGrad and SimpleFullGrad look at; explain it by Gradient or KernelShap"
            )
        take(start, stop, scores)

    rows = torch.arange(len(images), device=images.device)
    with uncompiled(model), model.module.register_forward_pre_hook(watch.enter), watch:
        gradients(model, targets, rows, images.shape[1:], make, finish)


class Watch(TorchFunctionMode):
    """Sees every operation of a network that adds a bias; by operation, not by module, so that shared and wrapped ones are seen too."""

    def __init__(self, name: str, see: See) -> None:
        super().__init__()
        self.name, self.see = name, see
        self.count, self.size = 0, (0, 0)
        self.convolutions = 0

    def enter(self, _network: nn.Module, given: tuple[Any, ...]) -> None:
        """Hook before the network: its input."""
        pixels = given[0]
        self.count, self.size = len(pixels), (pixels.shape[2], pixels.shape[3])
        if pixels.requires_grad:
            factor = pixels.detach().float().clone()  # The network may work in place on it.
            pixels.register_hook(lambda slopes: self.see(slopes.float(), factor, True))

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        self.convolutions += func in _CONVOLUTIONS
        bias = _bias(func, args, kwargs)
        if bias is not None and output.requires_grad:
            if len(output) % self.count or (output.ndim == 4 and len(output) != self.count):
                raise ModelError(
                    f"{self.name} puts several parts of an image into one batch, which FullGrad cannot tell apart; explain it by Gradient"
                )
            ready = _channels_second(func is F.linear, output.ndim == 4 and lies_over(output.shape[1:3], self.size))
            factor = bias.detach().float().view(1, -1, *[1] * (ready(output).ndim - 2))
            output.register_hook(lambda slopes: self.see(ready(slopes).float(), factor, False))
        return output


def _channels_second(linear: bool, over: bool) -> Callable[[Tensor], Tensor]:
    """Brings a linear layer's channels from the last place to the second; flat where its other places do not lie over the image."""
    if not linear:
        return lambda values: values
    return lambda values: values.movedim(-1, 1) if over or values.ndim < 4 else values.movedim(-1, 1).flatten(2)


def _bias(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """What an operation adds to each channel: its bias, in a batch norm less its scaled mean; None where it adds nothing."""
    bias: Tensor | None
    if func in _CONVOLUTIONS or func is F.linear:
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
        return bias
    if func is not F.batch_norm:
        return None
    norm = _BATCH_NORM.bind(*args, **kwargs)
    norm.apply_defaults()
    bias, mean, given = norm.arguments["bias"], norm.arguments["running_mean"], norm.arguments["weight"]
    if mean is None or norm.arguments["training"]:
        return bias
    scaled: Tensor = mean * (norm.arguments["running_var"] + norm.arguments["eps"]).rsqrt()
    scaled = scaled if given is None else scaled * given
    return -scaled if bias is None else bias - scaled
