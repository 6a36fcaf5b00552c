"""Models with random weights: what a map is of the image when it is no longer of this model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from assay.core import noise
from assay.errors import ModelError
from assay.models.classifier import Classifier
from assay.models.preparation.prepare import frozen_copy

__all__ = ["layers", "permuted", "randomised"]


def randomised(model: Classifier, which: Literal["last", "all"], seed: int, shape: Sequence[int] | None = None) -> Classifier:
    """The model with the weights of its last layer, or of all layers, in random order.

    Every parameter tensor keeps its values and so its distribution; buffers, such as the statistics of batch norms, stay.

    Args:
        model: The model; it is only read. Passes of what comes back are counted on it.
        which: "last" for the layer nearest to the output, "all" for every parameter.
        seed: Decides the order.
        shape: (C, H, W) of an image, to find the last layer by running one; None takes the last that the network defines.

    Raises:
        ModelError: The model has no parameters.

    Source: Adebayo et al., NeurIPS 2018 (model parameter randomisation).
    """
    if which == "all":
        return permuted(model, [name for layer in layers(model) for name in layer], seed)
    return permuted(model, layers(model, shape)[0], seed)


def layers(model: Classifier, shape: Sequence[int] | None = None) -> list[tuple[str, ...]]:
    """Names of the parameters of each layer, the layer nearest to the output first.

    A layer is a module that holds parameters itself. With a `shape` (C, H, W), an image of which is run, uncounted, layers
    stand in the order in which their parameters are last used, and those that are never used are left out; without, or where
    the network hides its operations from Python, in the order in which the network defines them.

    Raises:
        ModelError: The model has no parameters.
    """
    own = {name: parameter for name, parameter in model.module.named_parameters() if parameter.is_floating_point()}
    if not own:
        raise ModelError(f"{model.name} has no parameters, so there is nothing to randomise")
    if shape is not None:
        with model.passes.uncounted(), _Uses(own) as uses, torch.no_grad():
            model.forward(torch.full((1, *shape), 0.5, device=model.device))
        own = {name: own[name] for name in uses.order()} or own
    groups: dict[str, list[str]] = {}
    for name in reversed(own):
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    return [tuple(names) for names in groups.values()]


def permuted(model: Classifier, names: Iterable[str], seed: int) -> Classifier:
    """The model with the values of each of the named parameters in random order, which depends on seed and name alone."""
    # The way Softened makes its twin: settings, chunks and the count of passes are shared, the network is not.
    twin = copy.copy(model)
    twin.module = frozen_copy(model.module)
    twin._run = twin.module
    own = dict(twin.module.named_parameters())
    with torch.no_grad():
        for name in names:
            parameter = own[name]
            rows = torch.arange(parameter.shape[0] if parameter.ndim else 1)
            numbers = noise.uniform(seed, f"randomised {name}", rows, torch.zeros_like(rows), (parameter.numel() // max(len(rows), 1),))
            order = numbers.flatten().argsort(stable=True).to(parameter.device)
            parameter.copy_(parameter.reshape(-1)[order].view(parameter.shape))
    return twin


class _Uses(TorchFunctionMode):
    """While it is entered, notes which parameters torch's functions are called with, and when last."""

    def __init__(self, named: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._names = {id(parameter): name for name, parameter in named.items()}
        self._last: dict[str, None] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for value in (*args, *(kwargs or {}).values()):
            for one in value if isinstance(value, list | tuple) else (value,):
                name = self._names.get(id(one)) if isinstance(one, Tensor) else None
                if name is not None:
                    self._last.pop(name, None)
                    self._last[name] = None
        return func(*args, **(kwargs or {}))

    def order(self) -> list[str]:
        """Names of the parameters that were used, the one that was last used least recently first."""
        return list(self._last)
