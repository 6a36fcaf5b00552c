"""What is tried on the first real images: whether the network is a function of the image, and a faster form the same function."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from assay.core.chunk import out_of_memory
from assay.core.precision import full_products
from assay.errors import AssayError, ModelError
from assay.models.heads import Head
from assay.models.preparation.fold import Fold, find_folds, function_name

__all__ = ["LOOKED_AT", "NetworkForm", "failure", "first_line", "pair_of", "prepare", "still_equal", "understood"]

RunNetwork = Callable[..., Tensor]
"""Logits (n, K) of pixels (n, C, H, W) by the network as it is now, its input in a memory layout; by a copy in 64 bits, where given."""

_TOLERANCE, _ROUNDING = 1e-4, 2e-6
_EXACT = 1e-7
"""Largest difference in 64 bits, as a share of the outputs' spread, of outputs that differ by rounding in 32."""
LOOKED_AT = 16
"""Images among which two whole ones are looked for, to try a network on."""
_WHOLE = 1e-4
"""How far from 1 probabilities may sum."""
_HELP = {
    ".size()[0] ==": "it was exported for batches of one size: torch.export.export(..., dynamic_shapes=({0: torch.export.Dim('n')},))",
    "should be the same": "networks run in float32 here, so let forward cast to the type of its weights, not to a fixed one",
}
"""What helps against errors of strangers' networks, by what torch says of them."""
_RANDOM = frozenset({
    "dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout",
    "rrelu", "rand", "randn", "rand_like", "randn_like", "randint", "randint_like", "randperm", "bernoulli", "bernoulli_", "normal",
    "normal_", "uniform_", "exponential_", "random_", "multinomial", "poisson", "gumbel_softmax",
})  # fmt: skip


@dataclass
class NetworkForm:
    """How a network runs, and what was found about it; filled in on the first images.

    Attributes:
        tried: The sizes (C, H, W) of images that it was tried on.
        folds: Batch norms folded into convolutions.
        layout: Memory layout of inputs, and of the weights of 2-D convolutions.
        findings: What a reader should know of the outputs, in sentences.
        layers: The layer that explainers of features took by themselves, by the images' size (C, H, W).
        plain: Why the plain network is used where a faster form was tried, or nothing.
    """

    tried: set[tuple[int, ...]] = field(default_factory=set)
    folds: list[Fold] = field(default_factory=list)
    layout: torch.memory_format = torch.contiguous_format
    findings: tuple[str, ...] = ()
    layers: dict[tuple[int, ...], str] = field(default_factory=dict)
    plain: str = ""

    def apply(self, net: nn.Module) -> None:
        """Bring the network into this form."""
        for fold in self.folds:
            fold.apply()
        _lay_out(net, self.layout)

    def undo(self, net: nn.Module) -> None:
        """Bring the network back into its plain form."""
        for fold in self.folds:
            fold.undo()
        _lay_out(net, torch.contiguous_format)

    def convert(self, dtype: torch.dtype) -> None:
        """Bring what is kept for `apply` and `undo` into a number format; the network itself is the caller's to convert."""
        self.folds = [fold.to(dtype) for fold in self.folds]

    @property
    def told(self) -> tuple[str, ...]:
        """`findings`, and which layers were taken."""
        taken = ((name, " x ".join(map(str, size))) for size, name in self.layers.items())
        return (*self.findings, *(f"Where no layer is named, features are those of {name} (images of {size})." for name, size in taken))

    @property
    def words(self) -> str:
        """What was done to the network, and that it was checked."""
        done = [f"{len(self.folds)} batch norms folded"] if self.folds else []
        done += ["channels last"] if self.layout == torch.channels_last else []
        return f"{', '.join(done)}; its outputs equal the plain network's" if done else self.plain or "as it is"


def pair_of(images: Tensor) -> Tensor:
    """Two different images (2, C, H, W) without NaN: the first two, or the first and a darker mirror image; grey where there is none."""
    images = images[images.flatten(1).isfinite().all(1)]
    first = images[:1] if len(images) else images.new_full((1, *images.shape[1:]), 0.5)
    if len(images) > 1 and not torch.equal(images[0], images[1]):
        return images[:2]
    return torch.cat([first, 0.9 * first.flip(3) + 0.05 * first.roll(1, 2)])


def prepare(form: NetworkForm, net: nn.Module, run: RunNetwork, pair: Tensor, name: str) -> Tensor:
    """Try the network on two images, by at most six passes, and bring it into the fastest form that is the same function.

    Outputs that differ are looked at again in 64 bits, by two passes more, where rounding may be all there is.

    Args:
        form: What is found; filled in.
        net: A frozen copy in eval mode; it is left in that form.
        run: Runs it.
        pair: (2, C, H, W) different images.
        name: What to call the network.

    Returns:
        The outputs (2, K, ...) of the plain network.

    Raises:
        ModelError: It is no function of the image alone: two passes differ, or other images beside it change its outputs.
    """
    usual = torch.contiguous_format
    with torch.no_grad(), _steady(pair.device):
        alone = run(pair[:1], usual)
        folds, both = find_folds(net, lambda: run(pair, usual))
        again = run(pair, usual)
        same, alike = _equal(both, again), _equal(alone, again[:1])
        if not (same and alike):
            told = _exactly(net, run, pair)
            if not same and not told[0]:
                raise ModelError(_random(net, lambda: run(pair, usual), name, (both - again).abs().max().item()))
            if not told[1]:
                raise ModelError(_batchwise(net, name, (alone - again[:1]).abs().max().item()))
            form.findings = (f"Rounding alone changes the outputs of {name} by up to {(alone - again[:1]).abs().max().item():.1g}.",)
        layouts = [torch.channels_last] if any(isinstance(module, nn.Conv2d) for module in net.modules()) else []
        for one in (NetworkForm(folds=folds, layout=layout) for layout in (*layouts, *([usual] if folds else []))):
            one.apply(net)
            reason = _differs(again, partial(run, pair, one.layout))
            if reason is None:
                form.folds, form.layout, form.plain = one.folds, one.layout, ""
                return again
            one.undo(net)
            form.plain = f"as it is, since a faster form {reason}"
    return again


def still_equal(form: NetworkForm, net: nn.Module, run: RunNetwork, pair: Tensor, tolerance: float) -> None:
    """Check a form on images of another size, and give it up where it is another function there.

    Args:
        form: The network's form; changed in place.
        net: The network, in that form.
        run: Runs it.
        pair: (2, C, H, W) different images.
        tolerance: Largest difference, as a share of the outputs' spread, that the number format explains.
    """
    if not form.folds and form.layout == torch.contiguous_format:
        return
    with torch.no_grad(), _steady(pair.device):
        form.undo(net)
        expected = run(pair, torch.contiguous_format)
        form.apply(net)
        reason = _differs(expected, lambda: run(pair, form.layout), tolerance)
        if reason is not None:
            form.undo(net)
            form.folds, form.layout, form.plain = [], torch.contiguous_format, f"as it is, since a faster form {reason}"


def failure(net: nn.Module, name: str, error: BaseException, shape: Sequence[int], held: Set[torch.dtype], dtype: torch.dtype) -> str:
    """What an error in a network's own code says: the layer, the images, and what to do where that code stands on a lost number format.

    Args:
        net: The network's copy.
        name: What the reader calls it.
        error: What it raised.
        shape: (C, H, W) of the images.
        held: Number formats of its weights as it was given.
        dtype: That of its weights here.
    """
    text = f"{name} fails{_failing_layer(net, error)} on images of shape {tuple(shape)}, in its own code: {first_line(error)}"
    lost = ", ".join(sorted(str(one).removeprefix("torch.") for one in held - {dtype}))
    if not lost or "type" not in str(error):
        return text
    here = str(dtype).removeprefix("torch.")
    return f"{text}; its weights were {lost} and are {here} here: let its code follow them, as by x.to(weight.dtype)"


def _failing_layer(net: nn.Module, error: BaseException) -> str:
    """The innermost layer in which an error arose, as ", in its layer NAME (TYPE),", or nothing."""
    names = {id(module): (path, module) for path, module in net.named_modules()}
    found = ""
    trace = error.__traceback__
    while trace is not None:
        path, module = names.get(id(trace.tb_frame.f_locals.get("self")), ("", None))
        found = f" in its layer {path} ({type(module).__name__})" if path else found
        trace = trace.tb_next
    return found


def first_line(error: BaseException) -> str:
    """An error's kind, the first line of what it says, and what helps where that is known."""
    text = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
    return text + next((f"; {helps}" for cause, helps in _HELP.items() if cause in text), "")


def _equal(one: Tensor, other: Tensor, tolerance: float = _TOLERANCE, rounding: float = _ROUNDING) -> bool:
    """Whether outputs agree up to rounding; what is not finite must be so in both."""
    finite = one.isfinite()
    if one.shape != other.shape or not torch.equal(finite, other.isfinite()):
        return False
    known, found = one[finite], other[finite]
    if not len(known):
        return True
    # Sums that cancel keep the rounding of their parts, which may be all that is left.
    allowed = tolerance * (known.max() - known.min()) + rounding * known.abs().max()
    return bool((known - found).abs().max() <= allowed)


def _exactly(net: nn.Module, run: RunNetwork, pair: Tensor) -> tuple[bool, bool]:
    """Whether two passes agree in 64 bits, and an image alone with the same beside another; not, where it does not run in them."""
    usual = torch.contiguous_format
    try:
        exact = copy.deepcopy(net).double()
        both, again, alone = (run(images, usual, exact) for images in (pair, pair, pair[:1]))
    except Exception:
        return False, False
    return _equal(both, again, _EXACT, _EXACT), _equal(alone, again[:1], _EXACT, _EXACT)


def _differs(expected: Tensor, run: Callable[[], Tensor], tolerance: float = _TOLERANCE) -> str | None:
    """Why a form is not the same function, or None."""
    try:
        found = run()
    except AssayError as error:
        return f"does not run ({str(error).splitlines()[0]})"
    except Exception as error:
        if out_of_memory(error):
            raise
        return f"does not run ({type(error).__name__})"
    return None if _equal(expected, found, tolerance) else f"has other outputs (by up to {(expected - found).abs().max().item():.2g})"


def _lay_out(net: nn.Module, layout: torch.memory_format) -> None:
    for module in net.modules():
        weight = module._parameters.get("weight") if isinstance(module, nn.Conv2d) else None
        if weight is not None and weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=layout)


def understood(outputs: Tensor, head: Head, name: str) -> tuple[bool, tuple[str, ...]]:
    """Whether outputs (n, K, ...) are probabilities already, and what to tell of that."""
    inside = bool((outputs >= 0).all())
    if head.name == "softmax" and inside and bool(((outputs.sum(1) - 1).abs() <= _WHOLE).all()):
        return True, (f"The outputs of {name} are probabilities already, so no softmax is put on them.",)
    own = outputs[:, 1:] if head.name == "binary" else outputs
    if head.name in ("sigmoid", "binary") and inside and bool((own <= 1).all()) and bool(own.any()):
        told = f"All outputs of {name} lie between 0 and 1, and are taken for logits all the same; if they are probabilities, give "
        return False, (told + "Classifier(net, select=torch.logit).",)
    return False, ()


def _random(net: nn.Module, run: Callable[[], Tensor], name: str, size: float) -> str:
    draws = _Draws(net)
    with draws:
        run()
    found = f", {' and '.join(dict.fromkeys(draws.found))}," if draws.found else ""
    return (
        f"{name} is no function of the image: two passes of the same images differ by {size:.2g} in eval mode, since it draws random "
        f"numbers or keeps something between calls{found} and its maps would be meaningless; switch that off, dropout for example by "
        "F.dropout(x, training=self.training)"
    )


def _batchwise(net: nn.Module, name: str, size: float) -> str:
    live = [
        path
        for path, module in net.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None)
    ]
    found = f" ({', '.join(live[:3])}: batch norm without running statistics)" if live else ""
    return (
        f"{name} is no function of one image: its outputs for an image change by {size:.2g} with the images beside it, so it uses "
        f"batch statistics or mixes images{found}, and maps would depend on the batch; give it running statistics, or wrap it so that it "
        "takes one image at a time"
    )


class _Draws(TorchFunctionMode):
    """Notes which functions draw random numbers, and in which layer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.names = {id(module): path for path, module in net.named_modules()}
        self.found: list[str] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        live = given.get("training", args[2] if len(args) > 2 and isinstance(args[2], bool) else True)
        if function_name(func) in _RANDOM and live:
            frame, layer = sys._getframe(1), ""
            while frame.f_back is not None and not layer:
                layer = self.names.get(id(frame.f_locals.get("self")), "")
                frame = frame.f_back
            self.found.append(f"{function_name(func)} in {layer or 'its forward'}")
        return func(*args, **given)


def _steady(device: torch.device) -> ExitStack:
    """The global generators put back at the end, and on GPUs full float32, so that forms differ by rounding alone."""
    stack = ExitStack()
    cuda = device.type == "cuda"
    stack.enter_context(torch.random.fork_rng([device] if cuda else []))
    if cuda:
        stack.enter_context(full_products())
    return stack
