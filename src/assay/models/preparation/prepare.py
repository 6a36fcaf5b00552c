"""A private, frozen copy of whatever a user hands in; the caller's own is only read."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import inspect
import types
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from assay.core.surroundings import undisturbed
from assay.errors import ModelError
from assay.models.preparation.fold import flat
from assay.models.preparation.hooks import drop_hooks, left_behind

__all__ = ["Foreign", "converted", "frozen_copy", "unwrapped", "weights_hash"]

_COPYING = ("__deepcopy__", "__copy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__del__")
_DEEPEST = 8


def unwrapped(net: Any) -> Any:
    """The network inside torch.compile, DataParallel or an exported program; anything else as it is."""
    if isinstance(net, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(net.module)
    if type(net).__name__ == "OptimizedModule":
        return unwrapped(net._orig_mod)
    return net.module() if isinstance(net, torch.export.ExportedProgram) else net


@undisturbed()
def frozen_copy(net: nn.Module) -> nn.Module:
    """An eval-mode copy of `net` whose parameters need no gradient and on which hooks that only look on do not run.

    Raises:
        ModelError: The network cannot be copied, or has no weights yet.
    """
    name = type(net).__name__
    lazy = [path for path, tensor in chain(net.named_parameters(), net.named_buffers()) if is_lazy(tensor)]
    if lazy:
        raise ModelError(f"{name} has no weights yet in {', '.join(lazy[:3])} (lazy layers): send a batch through it first")
    empty = [path for path, tensor in chain(net.named_parameters(), net.named_buffers()) if tensor.is_meta]
    if empty:
        raise ModelError(
            f"{name} has no weights in {', '.join(empty[:3])} (meta device): load them first, as by load_state_dict(assign=True)"
        )
    memo: dict[int, Any] = {id(hook): hook for hook in left_behind(net)}
    for module in net.modules():
        for value in vars(module).values():
            # Python refuses to copy tensors that a graph produced (weight norm leaves such behind).
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
            elif not isinstance(value, Tensor):
                _share(value, memo, set(), 0)
    try:
        with torch.no_grad():  # TorchScript copies its weights as a graph would.
            copied = copy.deepcopy(net, memo)
    except Exception as error:
        raise ModelError(f"{name} cannot be copied, which Assay does to leave it untouched: {error}") from error
    for module in copied.modules():
        for key, value in list(vars(module).items()):
            if isinstance(value, types.FunctionType | functools.partial):
                vars(module)[key] = _rebound(value, memo)
        drop_hooks(module, copied, lambda hook: _rebound(hook, memo))
        for key, child in list(module.named_children()):
            if unwrapped(child) is not child:
                setattr(module, key, unwrapped(child))
    for parameter in copied.parameters():
        parameter.grad = None
        parameter.requires_grad_(False)
    with contextlib.suppress(NotImplementedError):  # An exported program has the mode that it was exported in.
        copied.eval()
    return copied


def converted(net: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The network itself, on the device and with its real numbers in this format.

    Tensors that are plain attributes move too, and change their format where it is that of the parameters.
    """
    own = next((parameter.dtype for parameter in net.parameters() if parameter.is_floating_point()), None)
    net._apply(lambda tensor: tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype))
    for module in net.modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor):
                vars(module)[key] = value.to(device, dtype if value.dtype == own else value.dtype)
    return net


def weights_hash(net: nn.Module) -> str:
    """SHA-256, as hexadecimal digits, of all parameters and buffers and their names."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(name.encode())
        plain = value.dequantize() if isinstance(value, Tensor) and value.is_quantized else value
        real = isinstance(plain, Tensor) and not plain.is_complex()
        digest.update(plain.detach().cpu().float().contiguous().numpy().tobytes() if real else repr(plain).encode())
    return digest.hexdigest()


class Foreign(TorchFunctionMode):
    """While it is entered, a copy that reads the caller's own weights is refused, before it does anything with them.

    Args:
        net: The caller's network, not kept alive.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.name = type(net).__name__
        named = chain(net.named_parameters(), net.named_buffers())
        self.theirs = [(path, weakref.ref(tensor)) for path, tensor in named] if _is_patched(net) else []
        self.alive: dict[int, str] = {}

    def forget(self) -> None:
        """Let go of the caller's network, which later passes do not concern."""
        self.theirs, self.alive = [], {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.alive = self.alive or {id(tensor): path for path, ref in self.theirs if (tensor := ref()) is not None}
        for tensor in flat((args, kwargs or {})):
            if id(tensor) in self.alive:
                raise ModelError(
                    f"a copy of {self.name} is not independent of your own: a function that was put on it reads your network's "
                    f"{self.alive[id(tensor)]}. Write it as a method of a class, or as a closure of the network itself"
                )
        return func(*args, **(kwargs or {}))


def _is_patched(net: nn.Module) -> bool:
    """Whether functions were put on the network's modules, which might hold on to these."""
    functions = (types.FunctionType, types.MethodType, functools.partial)
    values = chain.from_iterable((*vars(module).values(), *module._forward_hooks.values()) for module in net.modules())
    return any(isinstance(value, functions) for value in values)


def _rebound(value: Any, memo: Mapping[int, Any]) -> Any:
    """A function that holds on to parts of the original network, holding on to those of the copy instead."""
    if id(value) in memo and isinstance(value, nn.Module | Tensor):
        return memo[id(value)]
    if hasattr(value, "_torchdynamo_orig_callable"):
        return _rebound(inspect.unwrap(value), memo)
    if isinstance(value, types.MethodType):
        return types.MethodType(_rebound(value.__func__, memo), memo[id(value.__self__)]) if id(value.__self__) in memo else value
    if isinstance(value, functools.partial):
        given = {key: _rebound(one, memo) for key, one in value.keywords.items()}
        return functools.partial(_rebound(value.func, memo), *(_rebound(one, memo) for one in value.args), **given)
    if not isinstance(value, types.FunctionType) or value.__module__.startswith("torch."):
        return value
    cells = [_rebound_cell(cell, memo) for cell in value.__closure__ or ()]
    defaults = tuple(_rebound(one, memo) for one in value.__defaults__ or ())
    names = {name: value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__}
    found = {name: _rebound(one, memo) for name, one in names.items() if isinstance(one, nn.Module | Tensor | types.MethodType)}
    moved = {name: one for name, one in found.items() if one is not names[name]}
    same = all(new is old for new, old in zip(cells, value.__closure__ or (), strict=True))
    if same and not moved and all(new is old for new, old in zip(defaults, value.__defaults__ or (), strict=True)):
        return value
    spaces = {**value.__globals__, **moved} if moved else value.__globals__
    made = types.FunctionType(value.__code__, spaces, value.__name__, defaults or None, tuple(cells))
    made.__kwdefaults__, made.__dict__ = value.__kwdefaults__, dict(vars(value))
    return made


def _rebound_cell(cell: types.CellType, memo: Mapping[int, Any]) -> types.CellType:
    try:
        held = cell.cell_contents
    except ValueError:  # Empty.
        return cell
    new = _rebound(held, memo)
    return cell if new is held else types.CellType(new)


def _share(value: Any, memo: dict[int, Any], seen: set[int], depth: int) -> bool:
    """Whether there are tensors or modules in `value`; what must not be copied, such as an inference session, goes into `memo` as it is."""
    if isinstance(value, Tensor | nn.Module):
        return True
    if id(value) in seen or depth > _DEEPEST:
        return False
    seen.add(id(value))
    if isinstance(value, types.ModuleType):
        memo[id(value)] = value
        return False
    home = type(value).__module__.partition(".")[0]
    if home in ("torch", "numpy") or isinstance(value, type | types.FunctionType | types.MethodType | functools.partial):
        return False
    parts = [_share(one, memo, seen, depth + 1) for one in _parts(value)]
    if home not in ("builtins", "collections") and not any(parts) and _is_delicate(value):
        memo[id(value)] = value
    return any(parts)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    yield from getattr(value, "__dict__", {}).values()


def _is_delicate(value: Any) -> bool:
    """Whether an object is made by another language, or has ways of its own to be copied."""
    kind = type(value)
    if type(kind).__name__.startswith(("pybind11", "nb_")) or not (hasattr(value, "__dict__") or hasattr(kind, "__slots__")):
        return True
    return any(name in vars(one) for one in kind.__mro__[:-1] for name in _COPYING if one.__module__ != "builtins")
