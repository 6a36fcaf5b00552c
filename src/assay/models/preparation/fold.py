"""Batch norms folded into the convolutions that feed them, found by watching one real pass, and undone when asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

__all__ = ["Fold", "find_folds", "flat", "function_name"]

_NORMS: dict[type[nn.Module], type[nn.Module]] = {nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d}
_ASKS = frozenset({
    "shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf", "size", "dim", "ndimension", "numel", "nelement",
    "element_size", "itemsize", "stride", "storage_offset", "is_floating_point", "is_complex", "is_contiguous", "is_cuda", "is_cpu",
    "is_meta", "is_nested", "is_sparse", "is_quantized", "is_inference", "get_device", "__len__", "_version",
})  # fmt: skip
"""Questions about a tensor that its numbers do not answer."""
_NUMBERS = frozenset({"numpy", "tolist", "item", "__array__", "nonzero"})
"""Ways from a tensor's numbers into Python, beside those that return a number."""


@dataclass(frozen=True)
class Fold:
    """A batch norm and the convolution that alone feeds it.

    Attributes:
        conv: The convolution.
        norm: The batch norm.
        own: The convolution's own weight and bias.
        fused: The weight and bias that do the batch norm's work too.
    """

    conv: Any
    norm: Any
    own: tuple[nn.Parameter | None, ...]
    fused: tuple[nn.Parameter | None, ...]

    @classmethod
    def of(cls, conv: Any, norm: Any) -> Fold:
        """The fold of a pair as it is now; nothing is changed yet."""
        fused = fuse_conv_bn_weights(conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        return cls(conv, norm, (conv.weight, conv.bias), tuple(nn.Parameter(one, False) for one in fused))

    def apply(self) -> None:
        """Let the convolution do the batch norm's work."""
        self.conv.weight, self.conv.bias = self.fused
        self.norm.forward = _unchanged  # Its settings stay for networks that read them.

    def undo(self) -> None:
        """Put both back; nothing happens where they are as they were."""
        self.conv.weight, self.conv.bias = self.own
        vars(self.norm).pop("forward", None)

    def to(self, dtype: torch.dtype) -> Fold:
        """The fold with both pairs in this format."""
        own, fused = (tuple(one if one is None else nn.Parameter(one.to(dtype), False) for one in pair) for pair in (self.own, self.fused))
        return replace(self, own=own, fused=fused)


def find_folds(net: nn.Module, run: Callable[[], Tensor]) -> tuple[list[Fold], Tensor]:
    """The batch norms that can be folded exactly, and the output of `run()`, which calls `net` once.

    A pair is taken where each runs once, the norm takes the convolution's output, nothing else reads that or their parameters, and no
    number of a tensor decides what Python does. Where no pair could be, nothing is watched.

    Args:
        net: A frozen network in eval mode.
        run: Sends several images through it.
    """
    convs = [module for module in net.modules() if type(module) in _NORMS and _is_plain(module)]
    norms = [module for module in net.modules() if type(module) in _NORMS.values() and _is_plain(module)]
    norms = [norm for norm in norms if norm.running_mean is not None and not norm.training]
    if not convs or not norms:
        return [], run()
    watch = _Watch(convs, norms)
    with watch.hooks(), watch:
        output = run()
    return [Fold.of(conv, norm) for conv, norm in watch.pairs()], output


def _is_plain(module: Any) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    weight = module.weight
    floating = weight is None or (isinstance(weight, nn.Parameter) and weight.is_floating_point())
    return not any(hooks) and not hasattr(module, "parametrizations") and "forward" not in vars(module) and floating


def _unchanged(x: Tensor) -> Tensor:
    return x


class _Watch(TorchFunctionMode):
    """Sees who reads the outputs and parameters of some convolutions and batch norms."""

    def __init__(self, convs: Sequence[nn.Module], norms: Sequence[nn.Module]) -> None:
        super().__init__()
        self.convs, self.norms = convs, norms
        self.runs: Counter[nn.Module] = Counter()
        self.running: list[nn.Module] = []
        self.owners: dict[int, set[nn.Module]] = {}
        for module in (*convs, *norms):
            for tensor in (*module.parameters(), *module.buffers()):
                self.owners.setdefault(id(tensor), set()).add(module)
        self.made: dict[int, tuple[Tensor, nn.Module]] = {}
        self.feeds: dict[nn.Module, nn.Module] = {}
        self.spoiled: set[nn.Module] = set()
        self.decided = False

    def hooks(self) -> ExitStack:
        """Hooks on the modules, to be removed on exit."""
        stack = ExitStack()
        for module in (*self.convs, *self.norms):
            stack.enter_context(module.register_forward_pre_hook(self._begins))
            stack.enter_context(module.register_forward_hook(self._ends))
        return stack

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """What can be folded."""
        for norm, conv in self.feeds.items():
            if not self.decided and self.runs[conv] == self.runs[norm] == 1 and not {conv, norm} & self.spoiled:
                yield conv, norm

    def _begins(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        self.runs[module] += 1
        self.running.append(module)
        _, conv = self.made.get(id(given[0]), (None, None)) if len(given) == 1 else (None, None)
        if conv is not None and _NORMS[type(conv)] is type(module):
            self.feeds[module] = conv

    def _ends(self, module: nn.Module, _given: tuple[Any, ...], output: Any) -> None:
        self.running.pop()
        if type(module) in _NORMS:
            self.made[id(output)] = (output, module)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = function_name(func)
        if name in _ASKS:
            return output
        self.decided |= isinstance(output, bool | int | float) or name in _NUMBERS
        running = self.running[-1] if self.running else None
        for tensor in flat((args, kwargs)):
            _, conv = self.made.get(id(tensor), (None, None))
            if conv is not None and (running is None or self.feeds.get(running) is not conv):
                self.spoiled.add(conv)
            owners = self.owners.get(id(tensor), set())
            if owners and running not in owners:
                self.spoiled |= owners
        return output


def function_name(func: Any) -> str:
    """The name of a function that a TorchFunctionMode was handed; of the attribute that it reads, where it reads one."""
    name: str = getattr(func, "__name__", "")
    return getattr(func.__self__, "__name__", name) if name == "__get__" else name


def flat(value: Any) -> Iterable[Tensor]:
    """All tensors in nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from flat(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from flat(one)
