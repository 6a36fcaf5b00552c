"""A softplus copy of a model: its gradients have slopes, which those of a ReLU network have not."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from assay.core.chunk import Chunks
from assay.errors import DerivativeError
from assay.models.classifier import Classifier
from assay.models.heads import of_class
from assay.models.preparation.fold import function_name

__all__ = ["Softened", "faithful"]

_UNDERIVED = ("is not implemented", "differentiate twice", "once_differentiable")
"""What torch says where there is no second derivative."""
_KINKED = ("clamp", "clamp_min", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "prelu", "relu", "relu6", "softshrink", "threshold")
"""What is softened where it is called by Python."""
_SHARPER = (1, 4, 16, 64, 256, 1024)
"""By how much a softplus is sharpened until the copy is near the network."""
_DOUBLE = 3
"""Activation memory of a backward pass that is itself differentiated, in units of a plain one's."""


class Softened(Classifier):
    """A model with every ReLU, and every activation made of them, replaced by a softplus; to attack on, not to judge by.

    It shares weights, settings, precision and the count of passes with `model`, of which nothing is changed. ReLUs are caught as
    they are called, so that modules, functions and in-place forms are one; max pooling and smooth activations stay.

    Args:
        model: The model.
        beta: Sharpness of the softplus; the larger, the nearer to the ReLU.

    Source: Dombrowski et al., NeurIPS 2019, arXiv 1906.07983 (section 4).
    """

    twice = True

    def __init__(self, model: Classifier, beta: float) -> None:
        vars(self).update(vars(model))
        self.beta = beta
        self._run = self.module
        self._bytes = {}
        self._stiff = _kinks(self.module)
        self._followed = False
        self._groups: dict[int, Chunks] = {}

    def sharper(self, by: float) -> Softened:
        """The same with a softplus so many times as sharp."""
        found = copy.copy(self)
        found.beta = self.beta * by
        return found

    def forward(self, pixels: Tensor) -> Tensor:
        """See `Classifier.forward`; twice differentiable.

        Raises:
            DerivativeError: Part of the network is TorchScript, whose ReLUs nobody can reach.
        """
        if self._stiff:
            raise DerivativeError(
                f"{self.name} holds TorchScript, in which {' and '.join(self._stiff)} cannot be softened, so that MapAttack would have no "
                "slope to climb; attack the network that it was made of, or attack it by BlackBoxMapAttack"
            )
        self.try_on(pixels)
        # Of the kernels for attention only the plain one can be differentiated twice.
        with _Softplus(self.beta), sdpa_kernel(SDPBackend.MATH):
            return super().forward(pixels)

    def slopes(self, pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, K) and gradients (n, C, H, W) of the targets' scores at `pixels`, both with a graph; counted."""
        logits = self.forward(pixels)
        found = self.graded(self.score(logits, targets).sum(), pixels)
        self.count_backward(len(pixels))
        return logits, found

    def graded(self, total: Tensor, at: Tensor) -> Tensor:
        """The gradient of `total` at a tensor, with a graph; zeros where it does not depend on it.

        Raises:
            DerivativeError: An operation has no derivative, or one that cannot be differentiated again.
        """
        with self.differentiating():
            found = torch.autograd.grad(total, at, create_graph=True, allow_unused=True)[0] if total.requires_grad else None
        if found is None:
            return torch.zeros_like(at)
        if not self._followed and _cut(found.grad_fn):
            raise DerivativeError(self._underived("an operation"))
        self._followed = True
        return found

    def slope(self, total: Tensor, pixels: Tensor) -> Tensor:
        """The gradient of `total`, which is made of `slopes`; 0 where it does not depend on the pixels, as in a linear network.

        Raises:
            DerivativeError: An operation has no second derivative.
        """
        if not total.requires_grad:
            return torch.zeros_like(pixels)
        with self.differentiating():
            found: Tensor | None = torch.autograd.grad(total, pixels, allow_unused=True)[0]
        return torch.zeros_like(pixels) if found is None else found

    @contextmanager
    def differentiating(self) -> Iterator[None]:
        """Within, an operation that cannot be differentiated twice is told by name.

        Raises:
            DerivativeError: There is one.
        """
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if not any(part in text for part in _UNDERIVED):
                raise
            what = re.search(r"derivative for (?:aten::)?_*(\w+?)(?:_backward)? is", text)
            raise DerivativeError(self._underived(f"the operation {what[1]}" if what else "an operation")) from error

    def _underived(self, culprit: str) -> str:
        return (
            f"{self.name} holds {culprit}, which has no second derivative, so MapAttack cannot climb through its gradients; attack it by "
            "BlackBoxMapAttack"
        )

    def run_groups(self, total: int, samples: int, shape: Sequence[int], step: Callable[[int, int], None]) -> None:
        """`run` over images that send `samples` inputs each through the network, all inputs of an image in one chunk."""
        samples *= self.each
        most = max(1, self.most_useful(shape) // samples)
        fixed = self.chunks.fixed
        chunks = self._groups.setdefault(samples, Chunks(None if fixed is None else max(1, fixed // samples), self.chunks.memory))
        chunks.run(total, samples * self._bytes_per_image(tuple(shape), True), self.device, step, most)

    def fits(self, samples: int, shape: Sequence[int]) -> bool:
        """Whether all inputs of one image go through the network at once."""
        return self.chunk_size(samples, shape, True) == samples

    def _bytes_per_image(self, shape: tuple[int, ...], backward: bool) -> int:
        return super()._bytes_per_image(shape, backward) * (_DOUBLE if backward else 1)


def faithful(soft: Softened, images: Tensor, outputs: Tensor, ids: Tensor | None = None) -> list[tuple[Softened, Tensor]]:
    """Softened copies, and which images (N,) bool each is for: of several sharpnesses the least at which it still is the network there.

    Bends add up along a network, and those of a deep one can end in outputs that have nothing to do with its own.

    Args:
        soft: The copy to begin with; the others are sharper.
        images: (N, C, H, W).
        outputs: (N, K, ...), the model's own; a copy's may be apart from them by their root mean square.
        ids: (N,) the one output of each image that is compared, where the others are findings of their own; None for all.
    """
    left = torch.ones(len(images), dtype=torch.bool, device=images.device)
    own = outputs if ids is None else of_class(outputs, ids)[:, None]
    reach = own.flatten(1).square().mean(1).sqrt()
    copies = []
    for sharper in _SHARPER:
        found, rows = soft.sharper(sharper), left.nonzero()[:, 0]
        soft_outputs = found.unchecked_logits(images[rows])
        theirs = soft_outputs if ids is None else of_class(soft_outputs, ids[rows])[:, None]
        near = (theirs - own[rows]).flatten(1).abs().amax(1) <= reach[rows]
        mine = torch.zeros_like(left)
        mine[rows] = near | (sharper == _SHARPER[-1])
        left = left & ~mine
        copies.append((found, mine))
        if not bool(left.any()):
            break
    return [(one, mine) for one, mine in copies if bool(mine.any())]


class _Softplus(TorchFunctionMode):
    """While it is entered, ReLUs are softpluses."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        soften = _SOFT.get(func)
        if soften is None:
            return func(*args, **kwargs)
        return soften(self, func, *args, **kwargs)

    def bend(self, x: Tensor) -> Tensor:
        """The softplus of this sharpness."""
        soft: Tensor = F.softplus(x, self.beta)
        return soft


def _cut(node: Any) -> bool:
    """Whether a graph ends at a function that may be differentiated but once."""
    seen, todo = set(), [node]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            if node.name().endswith("Error"):
                return True
            seen.add(node)
            todo += [after for after, _ in node.next_functions]
    return False


def _kinks(net: nn.Module) -> list[str]:
    """What the TorchScript within a network holds of what would have to be softened."""
    scripts = [module for module in net.modules() if isinstance(module, torch.jit.ScriptModule) and hasattr(module, "forward")]
    graphs: list[Any] = [script.inlined_graph for script in scripts]
    return [kind for kind in _KINKED if any(graph.findAllNodes(f"aten::{kind}{end}") for graph in graphs for end in ("", "_"))]


def _write(x: Tensor, y: Tensor, inplace: bool) -> Tensor:
    return x.copy_(y) if inplace else y


def _works_in_place(func: Callable[..., Any]) -> bool:
    return function_name(func).partition(".")[0].endswith("_")


def _relu(mode: _Softplus, func: Callable[..., Any], input: Tensor, inplace: bool = False) -> Tensor:
    inplace = inplace or _works_in_place(func)
    return _write(input, mode.bend(input.clone() if inplace else input), inplace)


def _hardtanh(
    mode: _Softplus, func: Callable[..., Any], input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    inplace = inplace or _works_in_place(func)
    x = input.clone() if inplace else input
    return _write(input, min_val + mode.bend(x - min_val) - mode.bend(x - max_val), inplace)


def _relu6(mode: _Softplus, func: Callable[..., Any], input: Tensor, inplace: bool = False) -> Tensor:
    return _hardtanh(mode, func, input, 0.0, 6.0, inplace)


def _leaky(mode: _Softplus, func: Callable[..., Any], input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    inplace = inplace or _works_in_place(func)
    x = input.clone() if inplace else input
    return _write(input, negative_slope * x + (1 - negative_slope) * mode.bend(x), inplace)


def _prelu(mode: _Softplus, _func: Callable[..., Any], input: Tensor, weight: Tensor) -> Tensor:
    slope = weight.view(-1, *[1] * (input.ndim - 2)) if weight.numel() > 1 else weight
    return slope * input + (1 - slope) * mode.bend(input)


def _clamp(mode: _Softplus, func: Callable[..., Any], input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    # A bound of 6 above one of 0 is a hard sigmoid written out; other clamps keep numbers in range, which a softplus would not.
    if isinstance(min, Tensor) or min != 0 or isinstance(max, Tensor) or (max is not None and max <= 1):
        clamped: Tensor = func(input, min) if max is None else func(input, min, max)
        return clamped
    return mode.bend(input) if max is None else mode.bend(input) - mode.bend(input - max)


def _hardsigmoid(mode: _Softplus, _func: Callable[..., Any], input: Tensor, inplace: bool = False) -> Tensor:
    return _write(input, (mode.bend(input + 3) - mode.bend(input - 3)) / 6, inplace)


def _hardswish(mode: _Softplus, _func: Callable[..., Any], input: Tensor, inplace: bool = False) -> Tensor:
    x = input.clone() if inplace else input
    return _write(input, x * (mode.bend(x + 3) - mode.bend(x - 3)) / 6, inplace)


def _threshold(mode: _Softplus, func: Callable[..., Any], input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    if threshold != value:  # A jump, not a kink.
        jumped: Tensor = func(input, threshold, value, inplace) if inplace else func(input, threshold, value)
        return jumped
    inplace = inplace or _works_in_place(func)
    x = input.clone() if inplace else input
    return _write(input, value + mode.bend(x - value), inplace)


def _softshrink(mode: _Softplus, _func: Callable[..., Any], input: Tensor, lambd: float = 0.5) -> Tensor:
    return mode.bend(input - lambd) - mode.bend(-input - lambd)


_SOFT: dict[Callable[..., Any], Callable[..., Tensor]] = {
    **dict.fromkeys((F.relu, torch.relu, Tensor.relu, torch.relu_, Tensor.relu_), _relu),
    F.relu6: _relu6,
    **dict.fromkeys((F.hardtanh, F.hardtanh_), _hardtanh),
    F.hardsigmoid: _hardsigmoid,
    F.hardswish: _hardswish,
    F.softshrink: _softshrink,
    F.threshold: _threshold,
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), _leaky),
    **dict.fromkeys((F.prelu, torch.prelu, Tensor.prelu), _prelu),
    **dict.fromkeys((torch.clamp, Tensor.clamp, torch.clamp_min, Tensor.clamp_min), _clamp),
}
"""Differentiable forms, by what Python calls."""
_WAYS: dict[str, Callable[..., Tensor]] = {
    "relu": _relu, "relu6": _relu6, "hardtanh": _hardtanh, "hardsigmoid": _hardsigmoid, "hardswish": _hardswish, "softshrink": _softshrink,
    "threshold": _threshold, "leaky_relu": _leaky, "prelu": _prelu, "clamp": _clamp, "clamp_min": _clamp,
}  # fmt: skip
for _name, _soften in _WAYS.items():  # As exported programs call them.
    for _op in (getattr(torch.ops.aten, _name, None), getattr(torch.ops.aten, f"{_name}_", None)):
        if _op is not None:
            _SOFT[_op.default] = _soften
