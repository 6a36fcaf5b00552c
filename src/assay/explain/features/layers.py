"""Looking into a network: its layers by name, and where in their outputs the image lies, found by moving patches of an image."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from assay.core import noise
from assay.errors import ModelError
from assay.explain.features.layout import PATCHES, STILL, Layout, could_lie
from assay.models.classifier import Classifier

__all__ = ["Layout", "as_grid", "called", "check_layer", "last_layer", "layout_of", "lies_over", "uncompiled", "watched"]

_ROUGH = 0.5
"""Largest skew of a feature map told by its shape: convolutions without padding change the proportions of small oblong images."""
_EXACT = 0.1
"""Largest skew of a grid of tokens told by its shape, whose patches have the images' proportions."""
_SKEW = 1.0
"""Largest skew of a grid of tokens told by what moves in it."""
_MOST_EXTRA = 16
"""Class, distillation and register tokens that may stand before or after the tokens of the image."""
_FOLLOWS = 0.25
"""Least correlation between where the image was changed and where features moved, of a layer that is taken by default."""
_SURE = 16
"""Places whose movement is evidence however little it differs from place to place."""
_EARLY = 0.2
"""Share of the layers that run first: one that alone leads on from there is a stem, not the last of a trunk."""

_ORDERS = ((1, 2, 3), (3, 1, 2))
"""Axes of channels, rows and columns: channels first or last. Either, read as the other, has rows where columns are."""


def as_grid(output: Any, count: int, size: tuple[int, int]) -> Tensor | None:
    """A layer's output as features (n, C, h, w) that could lie over images of `size` (H, W) by its shape, or None.

    Taken are (n, C, h, w), (n, h, w, C), and tokens (n, T, C) with class tokens first, which are dropped; told apart by how near
    h : w is to H : W. What `layout_of` found by moving the image is better evidence.

    Args:
        output: What the layer gave.
        count: The number of images n.
        size: Height and width of the images.
    """
    found = _by_shape(output.shape[1:], size) if could_lie(output, count) else None
    return None if found is None else found.grid(output)


def lies_over(grid: tuple[int, ...], size: tuple[int, int], most: float = _ROUGH) -> bool:
    """Whether h : w of a grid of several cells is H : W of the images, up to a skew of `most` (the ratio's logarithm)."""
    return grid[0] * grid[1] > 1 and _skew(grid, size) <= most


@contextmanager
def uncompiled(model: Classifier) -> Iterator[None]:
    """Run the network itself in its plain form, and not a compiled or folded one, which hides its layers; other threads wait.

    Raises:
        ModelError: Part of it is TorchScript, which hides them for good.
    """
    with model.plain(), called(model):
        yield


@contextmanager
def called(model: Classifier) -> Iterator[None]:
    """Run the network itself, folded or not, and not a compiled one, which hides the functions that it calls; other threads wait.

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


def layout_of(model: Classifier, layer: str, shape: torch.Size) -> Layout:
    """Where the image lies in a layer's last output, found by moving two patches of an image; by the shape where nothing moves.

    It costs one uncounted pass of three images, once per network, layer and image size.

    Args:
        model: The model.
        layer: The layer's name.
        shape: (C, H, W) of an image.

    Raises:
        ModelError: The layer's output does not lie over the image.
    """
    known = _FOUND.setdefault(model.module, {})
    if (layer, shape) not in known:
        outputs: list[Any] = []
        with torch.no_grad():
            _pass(model, shape, {layer: outputs.append})
        laid = [(output, _lay(output, shape)) for output in outputs if could_lie(output, 3)]
        found = next((layout for _, layout in reversed(laid) if layout is not None), None)
        if found is None:
            gives = "nothing: it does not run" if not outputs else _what(outputs[-1])
            raise ModelError(f"GradCAM needs features that lie over the image, but the layer {layer} of {model.name} gives {gives}")
        known[layer, shape] = found
    return known[layer, shape]


def last_layer(model: Classifier, shape: torch.Size) -> str:
    """Name of the last layer with features over the image through which all goes that the logits owe to the image.

    So it is no side branch, and its places follow the image's, which they do not after pooling to one value. On transformers that
    read out the class token alone, patches count no more after the last attention; it is the last normalisation through which all
    goes that the patches still say. Where no layer alone leads on, as with several trunks, it is the last whose features count. It
    costs one uncounted pass of three images, once per network and image size.

    Args:
        model: The model.
        shape: (C, H, W) of an image.

    Raises:
        ModelError: There is none.
    """
    known = _LAST.setdefault(model.module, {})
    if shape not in known:
        known[shape] = _find_last(model, shape)
    model._form.layers[tuple(shape)] = known[shape]
    return known[shape]


@dataclass(frozen=True)
class _Seen:
    """A layer's output for the three images of `_pass`, with its graph.

    Attributes:
        name: The layer's name.
        norm: Whether the layer is a normalisation.
        order: How many outputs came before.
        output: (3, ...), the unchanged image first.
        gradient: Of the logits, weighted and summed; None where they do not depend on it.
    """

    name: str
    norm: bool
    order: int
    output: Tensor
    gradient: Tensor | None = None


def _find_last(model: Classifier, shape: torch.Size) -> str:
    model.count_classes(shape)
    seen: list[_Seen] = []

    def keep(name: str, layer: nn.Module) -> Callable[[Any], None]:
        norm = "norm" in type(layer).__name__.lower()

        def hook(output: Any) -> None:
            if could_lie(output, 3) and output.requires_grad:
                seen.append(_Seen(name, norm, len(seen), output))

        return hook

    with torch.inference_mode(False), torch.enable_grad():
        logits, pixels = _pass(model, shape, {name: keep(name, layer) for name, layer in model.module.named_modules() if name})
        # Different weights, since the gradients of all logits may sum to zero.
        flat = logits.flatten(1)
        total = (flat * torch.arange(1, flat.shape[1] + 1, device=flat.device)).sum()
        slopes = torch.autograd.grad(total, [one.output for one in seen], allow_unused=True, retain_graph=True) if seen else ()
        depends = [
            _Seen(one.name, one.norm, one.order, one.output, slope) for one, slope in zip(seen, slopes, strict=True) if slope is not None
        ]
        # With a head that is zero before training, all that it depends on counts.
        blind = not any(bool(one.gradient.any()) for one in depends if one.gradient is not None)

        def serves(one: _Seen) -> bool:
            return _tells_places(one.output, shape) and (blind or _counts(one, shape))

        trunk = next((one for one in reversed(depends) if _alone(one.output, total, pixels) and serves(one)), None)
        if trunk is None or trunk.order < _EARLY * len(seen):
            branches = (one for one in reversed(depends) if one.norm or one.output.ndim == 4)
            branch = next((one for one in branches if serves(one)), trunk)
            if branch is None:
                raise ModelError(
                    f"{model.name} has no layer with features that lie over the image; explain it by Gradient or KernelShap, which look at "
                    "no layer"
                )
            return branch.name
        later = [one for one in depends if one.order > trunk.order and one.norm and one.output.ndim == trunk.output.ndim]
        return next((one.name for one in reversed(later) if serves(one) and _carries(one, trunk, total, shape)), trunk.name)


def _pass(model: Classifier, shape: torch.Size, hooks: Mapping[str, Callable[[Any], Tensor | None]]) -> tuple[Tensor, Tensor]:
    """Logits of, and pixels of, three images: dark noise, and twice the same with a bright patch; an uncounted pass."""
    model.count_classes(shape)
    one = torch.zeros(1, dtype=torch.int64, device=model.device)
    pixels = noise.uniform(0, "last_layer", one, one, tuple(shape)).div_(2).repeat(3, 1, 1, 1)
    for image, ranges in zip(pixels[1:], PATCHES, strict=True):
        (top, bottom), (left, right) = (
            (int(low * side), max(int(low * side) + 1, round(high * side))) for (low, high), side in zip(ranges, shape[1:], strict=True)
        )
        image[:, top:bottom, left:right] += 0.5
    pixels.requires_grad_(torch.is_grad_enabled())
    with model.passes.uncounted(), watched(model, hooks):
        return model.forward(pixels), pixels


def _lay(output: Tensor, shape: torch.Size, least: float = 0.0) -> Layout | None:
    """The layout that best follows what moved, by more than `least`; one told by shape where none does, but of tokens only at 0."""
    size = (shape[1], shape[2])
    moved = _moved(output)
    if moved is not None:
        # A coarse grid with a row less, taken for extra tokens, follows almost as well; proportions and few extra tokens tell them apart.
        rated = [(_follows(layout, moved), layout) for layout in _layouts(output.shape[1:], size)]
        follows, found = max(rated, key=lambda pair: pair[0] - _unlikely(pair[1], output, size), default=(-1.0, None))
        if follows > least:
            return found
    return _by_shape(output.shape[1:], size) if output.ndim == 4 or least == 0 else None


def _tells_places(output: Tensor, shape: torch.Size) -> bool:
    """Whether the output lies over the image and its places are moved differently, unlike one value for all."""
    layout, moved = _lay(output, shape, _FOLLOWS), _moved(output)
    if layout is None or moved is None:
        return layout is not None and moved is None and not bool((output[1:] != output[:1]).any())
    places = layout.grid(moved[None])[0].sum(0)
    return bool((places - places.mean()).abs().max() > STILL / places.numel())


def _moved(output: Tensor) -> Tensor | None:
    """What the first patch moved less what the second did, as shares; None where either moved nothing, or both alike everywhere."""
    values = output.detach().double()
    shares = (values[1:] - values[:1]).abs()
    sums = shares.flatten(1).sum(1)
    if not bool(sums.isfinite().all()) or not bool((sums > 0).all()):
        return None
    shares = shares / sums.view(-1, *[1] * (output.ndim - 1))
    return shares[0] - shares[1]


def _layouts(shape: Sequence[int], size: tuple[int, int]) -> Iterator[Layout]:
    """Every way in which an output of this shape, without n, could hold a grid of several cells."""
    if len(shape) == 3:
        for axes in _ORDERS:
            rows, columns = shape[axes[1] - 1], shape[axes[2] - 1]
            # A single row of an image that is none is no grid, but channels whose other sides are 1.
            if rows * columns > 1 and (min(rows, columns) > 1 or _skew((rows, columns), size) <= _ROUGH):
                yield Layout(axes, rows, columns)
        return
    for pair in ((2, 1), (1, 2)):
        tokens = shape[pair[1] - 1]
        for extra in range(min(_MOST_EXTRA, tokens - 2) + 1):
            cells = tokens - extra
            middle = math.sqrt(cells * size[0] / size[1])
            near = range(max(1, math.ceil(middle * math.exp(-_SKEW / 2))), min(cells, int(middle * math.exp(_SKEW / 2))) + 1)
            for rows in (rows for rows in near if cells % rows == 0):
                for prefix in {extra, 0}:
                    yield Layout(pair, rows, cells // rows, prefix)


def _by_shape(shape: Sequence[int], size: tuple[int, int]) -> Layout | None:
    """The layout whose proportions are nearest to the images'; channels first, and few extra tokens, where several are."""
    if len(shape) == 3:
        found = [Layout(axes, shape[axes[1] - 1], shape[axes[2] - 1]) for axes in _ORDERS]
        return next((one for one in found if lies_over((one.rows, one.columns), size)), None)
    found = [one for one in _layouts(shape, size) if one.axes == (2, 1) and one.prefix == shape[0] - one.rows * one.columns]
    near = min(found, key=lambda one: _skew((one.rows, one.columns), size), default=None)
    return near if near is not None and lies_over((near.rows, near.columns), size, _EXACT) else None


def _counts(one: _Seen, shape: torch.Size) -> bool:
    """Whether the logits depend on the features that lie over the image."""
    if one.gradient is None or not bool(one.gradient.any()):
        return False
    if one.output.ndim == 4:
        return True
    layout = _lay(one.output, shape)
    return layout is not None and bool((layout.grid(one.gradient) != 0).any())


def _alone(output: Tensor, total: Tensor, pixels: Tensor) -> bool:
    """Whether every way through the graph from the logits to the pixels goes by `output`."""
    done: set[Any] = {output.grad_fn, None}
    todo = [total.grad_fn]
    while todo:
        node = todo.pop()
        if node in done:
            continue
        done.add(node)
        if getattr(node, "variable", None) is pixels:
            return False
        todo += [after for after, _ in node.next_functions]  # type: ignore[union-attr]
    return True


def _carries(one: _Seen, trunk: _Seen, total: Tensor, shape: torch.Size) -> bool:
    """Whether all that the logits owe to the trunk's features over the image goes by this layer."""
    layout = _lay(trunk.output, shape, _FOLLOWS)
    handle = one.output.register_hook(torch.zeros_like)
    try:
        past = torch.autograd.grad(total, trunk.output, retain_graph=True, allow_unused=True)[0]
    finally:
        handle.remove()
    return past is None or layout is None or not bool((layout.grid(past) != 0).any())


def _follows(layout: Layout, moved: Tensor) -> float:
    """How well movement lies where the image was changed; less where few places moved but little differently, which may be chance."""
    contrast = float(layout.grid(moved[None])[0].sum(0).abs().sum()) / 2
    return layout.follows(moved) * min(1.0, layout.rows * layout.columns / _SURE + contrast)


def _unlikely(layout: Layout, output: Tensor, size: tuple[int, int]) -> float:
    """How unlike the images' proportions a grid is, and the share of tokens that it leaves over."""
    over = 0.0 if output.ndim == 4 else 1 - layout.rows * layout.columns / output.shape[layout.axes[1]]
    return _skew((layout.rows, layout.columns), size) + over


def _skew(grid: Sequence[int], size: tuple[int, int]) -> float:
    return abs(math.log(grid[0] * size[1] / (grid[1] * size[0])))


def _what(output: Any) -> str:
    return f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"


def _on_output(hook: Callable[[Any], Tensor | None]) -> Callable[[nn.Module, Any, Any], Tensor | None]:
    return lambda _layer, _given, output: hook(output)


_FOUND: WeakKeyDictionary[nn.Module, dict[tuple[str, torch.Size], Layout]] = WeakKeyDictionary()
"""What `layout_of` found, by network, layer and image size."""
_LAST: WeakKeyDictionary[nn.Module, dict[torch.Size, str]] = WeakKeyDictionary()
"""What `last_layer` found, by network and image size."""
