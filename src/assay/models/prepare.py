"""A private, frozen, faster copy of a network; the caller's own is only read."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from assay.errors import ModelError

__all__ = ["fold_batch_norm", "frozen_copy"]

_NORMS = {nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d}


def frozen_copy(net: nn.Module) -> nn.Module:
    """An eval-mode copy of `net` whose parameters need no gradient.

    Raises:
        ModelError: The network cannot be copied.
    """
    memo: dict[int, Any] = {}
    for module in net.modules():
        for value in vars(module).values():
            # Python refuses to copy tensors that a graph produced (weight norm leaves such behind).
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        copied = copy.deepcopy(net, memo)
    except Exception as error:
        raise ModelError(f"{type(net).__name__} cannot be copied, which Assay does to leave it untouched: {error}") from error
    for parameter in copied.parameters():
        parameter.grad = None
    return copied.eval().requires_grad_(False)


def fold_batch_norm(net: nn.Module) -> int:
    """Fold each batch norm into the convolution that alone feeds it, in place; returns how many were folded.

    The pairs are found by tracing the network. One that cannot be traced stays as it is: correct, only slower.
    """
    try:
        nodes = list(_Tracer().trace(net, _defaults(net)).nodes)
    except Exception:
        return 0
    modules = dict(net.named_modules(remove_duplicate=False))
    called = [id(modules[node.target]) for node in nodes if node.op == "call_module"]
    read = {str(node.target).rpartition(".")[0] for node in nodes if node.op == "get_attr"}
    folded = 0
    for node in nodes:
        if node.op != "call_module" or len(node.args) != 1 or not isinstance(node.args[0], fx.Node):
            continue
        before = node.args[0]
        if before.op != "call_module" or len(before.users) != 1:
            continue
        conv, norm = modules[before.target], modules[node.target]
        once = called.count(id(conv)) == 1 and called.count(id(norm)) == 1 and not {before.target, node.target} & read
        if once and _foldable(conv, norm):
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            conv.requires_grad_(False)
            norm.forward = _unchanged  # its settings stay for networks that read them
            folded += 1
    return folded


def _defaults(net: nn.Module) -> dict[str, Any]:
    """The arguments that a call with the images alone leaves at their defaults; traced as unknown, they could take another way."""
    parameters = inspect.signature(net.forward).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def _unchanged(x: Tensor) -> Tensor:
    return x


class _Tracer(fx.Tracer):
    """Only modules of torch itself are leaves, so that a library's module that wraps one is looked into."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return type(m) is not nn.Sequential and type(m).__module__.startswith("torch.nn")


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    if _NORMS.get(type(conv)) is not type(norm) or norm.running_mean is None or norm.training:  # type: ignore[arg-type]
        return False
    hooks = (conv._forward_hooks, conv._forward_pre_hooks, conv._backward_hooks, norm._forward_hooks, norm._forward_pre_hooks)
    return not any(hooks) and not hasattr(conv, "parametrizations") and torch.is_floating_point(conv.weight)  # type: ignore[arg-type]
