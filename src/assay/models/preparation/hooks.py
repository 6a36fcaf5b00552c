"""The caller's hooks on a network: those that only look on do not run on our copy, those that are part of its function do."""

from __future__ import annotations

import dis
import functools
import itertools
import types
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

__all__ = ["drop_hooks", "left_behind"]

_FORWARD = ("_forward_hooks", "_forward_pre_hooks")
_BACKWARD = ("_backward_hooks", "_backward_pre_hooks")
_BESIDE = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
_NOTING = frozenset({
    "append", "add", "update", "extend", "insert", "put", "put_nowait", "setdefault", "__setitem__", "write", "print", "log", "info",
    "debug", "warning", "add_scalar",
})  # fmt: skip


def left_behind(net: nn.Module) -> Iterator[Any]:
    """Hooks of a network that `drop_hooks` takes from a copy of it, so that what they hold on to need not be copied."""
    for module in net.modules():
        for name in _BACKWARD:
            yield from getattr(module, name).values()
        for name in _FORWARD:
            yield from (hook for hook in getattr(module, name).values() if _only_looks(hook) and not _is_own(hook, net))


def drop_hooks(module: nn.Module, net: nn.Module, rebound: Callable[[Any], Any]) -> None:
    """Take from a copied module all backward hooks, and the forward hooks that give nothing back.

    Hooks of torch itself (weight norm, pruning), of the network's own and those that may change an output stay.

    Args:
        module: One module of the copy.
        net: The copy.
        rebound: Gives a function that holds on to parts of the original those of the copy.
    """
    for name in _BACKWARD:
        getattr(module, name).clear()
    for name in _FORWARD:
        hooks = getattr(module, name)
        for key, hook in list(hooks.items()):
            if _only_looks(hook) and not _is_own(hook, net):
                del hooks[key]
                for beside in _BESIDE:
                    getattr(module, beside, {}).pop(key, None)
            else:
                hooks[key] = rebound(hook)


def _is_own(hook: Any, net: nn.Module) -> bool:
    """Whether a hook belongs to torch, or to the network: a method of its parts, or a closure over its `self`."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    owner = getattr(hook, "__self__", hook)
    if (getattr(hook, "__module__", None) or "").startswith("torch.") or type(owner).__module__.startswith("torch."):
        return True
    held = getattr(hook, "__code__", None)
    if isinstance(owner, types.FunctionType):
        return "self" in (held.co_freevars if held else ())
    return any(owner is module or any(owner is value for value in vars(module).values()) for module in net.modules())


def _only_looks(hook: Any) -> bool:
    """Whether a hook surely returns None: it has no other return, or is a lambda that notes something down."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    function = hook if isinstance(hook, types.FunctionType | types.MethodType) else vars(type(hook)).get("__call__")
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "NOP")]
    calls = [step.argval for step in steps if step.opname in ("LOAD_METHOD", "LOAD_ATTR", "LOAD_GLOBAL")]
    straight = not any("JUMP" in step.opname for step in steps)
    for before, step in itertools.pairwise(steps):
        gives_none = before.opname == "LOAD_CONST" and before.argval is None
        notes = straight and before.opname.startswith("CALL") and any(name in _NOTING for name in calls)
        if step.opname == "RETURN_VALUE" and not gives_none and not notes:
            return False
        if step.opname == "RETURN_CONST" and step.argval is not None:
            return False
    return True
