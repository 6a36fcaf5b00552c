"""Looking into a network: its layers by name, and their outputs as features that lie over the image."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from assay.core import noise
from assay.errors import ModelError
from assay.models.classifier import Classifier

__all__ = ["as_grid", "check_layer", "last_layer", "lies_over", "uncompiled", "watched"]

_ROUGH = 0.5
"""Largest skew of a feature map: convolutions without padding change the proportions of small oblong images."""
_EXACT = 0.1
"""Largest skew of a grid of tokens, whose patches have the images' proportions."""
_MOST_PREFIX = 8
"""Class, distillation and register tokens that may stand before the tokens of the image."""


def as_grid(output: Any, count: int, size: tuple[int, int]) -> Tensor | None:
    """A layer's output as features (n, C, h, w) that lie over images of `size` (H, W), or None if it is no such thing.

    Taken are (n, C, h, w), (n, h, w, C), and tokens (n, T, C) with class tokens first, which are dropped; told apart by
    whether h : w is H : W.

    Args:
        output: What the layer gave.
        count: The number of images n.
        size: Height and width of the images.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point() or not output.ndim or len(output) != count:
        return None
    if output.ndim == 4:
        if lies_over(output.shape[2:], size):
            return output
        return output.permute(0, 3, 1, 2) if lies_over(output.shape[1:3], size) else None
    if output.ndim == 3:
        for prefix in range(_MOST_PREFIX + 1):
            rows, columns = _rows_and_columns(output.shape[1] - prefix, size)
            if lies_over((rows, columns), size, _EXACT):
                tokens = output[:, prefix:].reshape(count, rows, columns, -1)
                return tokens.permute(0, 3, 1, 2)
    return None


def lies_over(grid: tuple[int, ...], size: tuple[int, int], most: float = _ROUGH) -> bool:
    """Whether h : w of a grid of several cells is H : W of the images, up to a skew of `most` (the ratio's logarithm)."""
    return grid[0] * grid[1] > 1 and abs(math.log(grid[0] * size[1] / (grid[1] * size[0]))) <= most


@contextmanager
def uncompiled(model: Classifier) -> Iterator[None]:
    """Run the network itself and not its compiled form, which hides its layers and operations; other threads wait.

    Raises:
        ModelError: Part of it is TorchScript, which hides them for good.
    """
    hidden = [name for name, layer in model.module.named_modules() if isinstance(layer, torch.jit.ScriptModule)]
    if hidden:
        raise ModelError(
            f"the layers of {model.name} cannot be looked at, since {hidden[0] or 'it'} is TorchScript; give the network that it was made "
            "of, or explain it by Gradient or KernelShap, which look at no layer"
        )
    with model.alone:
        usual = model._run
        model._run = model.module
        try:
            yield
        finally:
            model._run = usual


@contextmanager
def watched(model: Classifier, hooks: Mapping[str, Callable[[Any], Tensor | None]]) -> Iterator[None]:
    """Hand each named layer's output to its hook; what a hook returns, unless None, takes the output's place.

    All is undone at the end, also after an exception.
    """
    layers = dict(model.module.named_modules(remove_duplicate=False))
    with uncompiled(model), ExitStack() as stack:
        for name, hook in hooks.items():
            stack.enter_context(layers[name].register_forward_hook(_on_output(hook)))
        yield


def check_layer(model: Classifier, name: str) -> str:
    """Return `name` if the network has a layer of that name.

    Raises:
        ModelError: It has none; the message lists names that are near.
    """
    known = [known for known, _ in model.module.named_modules(remove_duplicate=False) if known]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.3) or [known for known, _ in model.module.named_children()]
        raise ModelError(f"{model.name} has no layer {name!r}; near it are {', '.join(near)}" if near else f"{model.name} has no layers")
    return name


def last_layer(model: Classifier, shape: torch.Size) -> str:
    """Name of the last layer with features over the image on which the logits depend, found by one uncounted pass.

    On a network whose last such output is tokens these are the normalisation layers; where only the class token is read
    out, the patches' features count no more after the last attention, so the layer before it is taken.

    Args:
        model: The model.
        shape: (C, H, W) of an image.

    Raises:
        ModelError: There is none.
    """
    model.count_classes(shape)
    size = (shape[1], shape[2])
    outputs: list[tuple[str, Tensor]] = []

    def keep(name: str, layer: nn.Module) -> Callable[[Any], None]:
        # Other layers of transformers give heads, queries or attention, which could be taken for tokens.
        tokens = "norm" in type(layer).__name__.lower()

        def hook(output: Any) -> None:
            if as_grid(output, 1, size) is not None and output.requires_grad and (output.ndim == 4 or tokens):
                outputs.append((name, output))

        return hook

    hooks = {name: keep(name, layer) for name, layer in model.module.named_modules() if name}
    one = torch.zeros(1, dtype=torch.int64, device=model.device)
    with torch.inference_mode(False), torch.enable_grad(), watched(model, hooks):
        counted = model.passes.copy()
        try:
            logits = model.forward(noise.uniform(0, "last_layer", one, one, tuple(shape)).requires_grad_())
        finally:
            model.passes.forward = counted.forward
        # Different weights, since the gradients of all logits may sum to zero.
        total = (logits * torch.arange(1, logits.shape[1] + 1, device=logits.device)).sum()
        found = torch.autograd.grad(total, [output for _, output in outputs], allow_unused=True) if outputs else ()
    reaching = []
    for (name, output), gradient in zip(reversed(outputs), reversed(found), strict=True):
        if output.ndim == outputs[-1][1].ndim and gradient is not None:
            reaching.append(name)
            features = as_grid(gradient, 1, size)
            if features is not None and bool((features != 0).any()):
                return name
    if reaching:  # Every gradient is zero, as with a head that is zero before training.
        return reaching[0]
    raise ModelError(
        f"{model.name} has no layer with features that lie over the image; explain it by Gradient or KernelShap, which look at no layer"
    )


def _on_output(hook: Callable[[Any], Tensor | None]) -> Callable[[nn.Module, Any, Any], Tensor | None]:
    return lambda layer, given, output: hook(output)  # noqa: ARG005


def _rows_and_columns(cells: int, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of so many cells in the images' proportions; zeros if they make no such grid."""
    rows = round(math.sqrt(max(cells, 0) * size[0] / size[1]))
    return (rows, cells // rows) if rows and cells % rows == 0 else (0, 0)
