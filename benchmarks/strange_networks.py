"""Networks written in unusual ways, as users write them, for docs/models.md; each is one small convolutional network inside."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils import checkpoint

__all__ = ["ALL", "SIDE", "Strange"]

SIDE, CLASSES = 32, 5


class Net(nn.Module):
    """Two normalised convolutions and a head."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.second, self.norm2 = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, classes)

    def features(self, x: Tensor) -> Tensor:
        """Features (N, 12, 8, 8)."""
        return F.relu(self.norm2(self.second(F.relu(self.norm1(self.first(x))))))

    def forward(self, x: Tensor) -> Any:
        """Logits."""
        return self.head(self.features(x).mean((2, 3)))


class Views(Net):
    """As in every tutorial; no channels-last tensor can be viewed so."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12 * 64, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.norm2(self.second(F.relu(self.first(x)))).view(-1, 12 * 64))


class Branch(Net):
    """A convolution whose output is read by its batch norm and by another branch."""

    def forward(self, x: Tensor) -> Any:
        y = self.second(F.relu(self.norm1(self.first(x))))
        return self.head((F.relu(self.norm2(y)) + y.sigmoid()).mean((2, 3)))


class LazyBuffer(Net):
    mask: Tensor | None = None

    def features(self, x: Tensor) -> Tensor:
        y = super().features(x)
        if self.mask is None:
            self.mask = torch.linspace(0, 1, 8).expand_as(y[:1])
        return y * self.mask


class AsksType(Net):
    """Tracers hand in no tensor, and see another function."""

    def forward(self, x: Tensor) -> Any:
        y = F.relu(self.norm1(self.first(x))) if isinstance(x, Tensor) else self.first(x)
        return self.head(F.relu(self.norm2(self.second(y))).mean((2, 3)))


class Volume(Net):
    """A 3-D convolution over channels, and a parameter of five axes."""

    def __init__(self) -> None:
        super().__init__()
        self.deep, self.volume = nn.Conv3d(1, 1, 3, padding=1), nn.Parameter(torch.ones(1, 1, 3, 1, 1))

    def features(self, x: Tensor) -> Tensor:
        return super().features((self.deep(x[:, None]) * self.volume)[:, 0])


class Fourier(Net):
    """Complex parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Parameter(torch.randn(3, SIDE, SIDE // 2 + 1, dtype=torch.complex64))

    def features(self, x: Tensor) -> Tensor:
        return super().features(torch.fft.irfft2(torch.fft.rfft2(x) * self.turn, s=(SIDE, SIDE)))


class Checkpointed(Net):
    reentrant = False

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = checkpoint.checkpoint(super().features, x, use_reentrant=self.reentrant)
        return found


class CheckpointedOld(Checkpointed):
    reentrant = True


class InPlace(Net):
    """Works in place on its input, and on features that are read before."""

    def forward(self, x: Tensor) -> Any:
        x.sub_(0.5).mul_(2)
        return self.head(self.norm2(self.second(self.norm1(self.first(x)).relu_())).relu_().mean((2, 3)))


class Autocasts(Net):
    """Its own 16 bits."""

    def features(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().features(x).float()


class Dictionary(Net):
    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x), "aux": x}


class Pair(Net):
    def forward(self, x: Tensor) -> Any:
        return x, super().forward(x)


class Probabilities(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).softmax(1)


class One(Net):
    """One output, which the features speak for."""

    def __init__(self) -> None:
        super().__init__(1)
        with torch.no_grad():
            self.head.weight.abs_()


class OneFlat(One):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)[:, 0]


class Segments(Net):
    """Logits (N, K, 8, 8), of which class 1 is what the features speak for."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.head.weight[1].abs_()

    def forward(self, x: Tensor) -> Any:
        return self.head(self.features(x).movedim(1, -1)).movedim(-1, 1)


class Hard(Net):
    """Operations without a second derivative."""

    def features(self, x: Tensor) -> Tensor:
        return F.hardswish(self.norm2(self.second(F.hardsigmoid(self.norm1(self.first(x))))))


class Rounds(torch.autograd.Function):
    """Rounding with a gradient, once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return (8 * x).round() / 8

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # noqa: ARG004
        return slope


class StraightThrough(Net):
    def features(self, x: Tensor) -> Tensor:
        found: Tensor = Rounds.apply(super().features(x))
        return found


class Detached(Net):
    """What it says of the image goes through steps."""

    def features(self, x: Tensor) -> Tensor:
        return (super().features(x) > 0.5).float() + 0 * x.sum()


class LiveDropout(Net):
    def features(self, x: Tensor) -> Tensor:
        return F.dropout(super().features(x), 0.5)


class BatchStatistics(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm2 = nn.BatchNorm2d(12, track_running_stats=False)


class Session(Net):
    """A module around an onnxruntime session."""

    def __init__(self) -> None:
        super().__init__()
        self.session = _session()

    def forward(self, x: Tensor) -> Any:
        return torch.from_numpy(self.session.run(None, {"x": x.detach().numpy()})[0])


def _session() -> Any:
    """An onnxruntime session for one convolution, built by hand, so that no exporter is needed."""
    import numpy as np
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(CLASSES, 3, 3, 3)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("GlobalAveragePool", ["z"], ["p"]),
        helper.make_node("Flatten", ["p"], ["out"]),
    ]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, SIDE, SIDE])]
    outputs = [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", CLASSES])]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, [weight]), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _patched() -> nn.Module:
    net = Net()
    net.forward = lambda x: 2 * net.head(net.features(x).amax((2, 3)))  # type: ignore[method-assign]
    return net


def _compiled_forward() -> nn.Module:
    net = Net().eval()
    net.forward = torch.compile(net.forward, backend="eager")  # type: ignore[method-assign]
    return net


def _hooked() -> nn.Module:
    net, seen = Net(), []
    net.first.register_forward_hook(lambda _module, _given, output: seen.append(output))
    net.second.register_forward_hook(lambda _module, _given, output: output * 0.5)
    return net


def _normed(wrap: Callable[[nn.Module], Any]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        net = Net()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrap(net.first), wrap(net.second)
        return net

    return make


def _scripted(trace: bool) -> Callable[[], Any]:
    def make() -> Any:
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.trace(net.eval(), torch.rand(2, 3, SIDE, SIDE)) if trace else torch.jit.script(net.eval())

    return make


def _exported() -> Any:
    free = {0: torch.export.Dim("n", min=1, max=64)}
    return torch.export.export(Net().eval(), (torch.rand(2, 3, SIDE, SIDE),), dynamic_shapes=(free,))


def _quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(Net().eval(), {nn.Linear})


def _lazy(used: bool) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(CLASSES)).eval()
            if used:
                net(torch.rand(1, 3, SIDE, SIDE))
        return net

    return make


def _graph() -> nn.Module:
    return torch.fx.symbolic_trace(Net().eval())


def _forest() -> Callable[[Tensor], Any]:
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    draws = np.random.default_rng(0)
    forest = RandomForestClassifier(20, random_state=0).fit(draws.random((100, 3 * SIDE * SIDE)), draws.integers(0, CLASSES, 100))
    return lambda images: forest.predict_proba(images.flatten(1).numpy())


def _two(net: Any) -> Callable[[Tensor], Tensor]:
    """One logit as those of two classes."""

    def logits(x: Tensor) -> Tensor:
        one = net(x).reshape(len(x), 1)
        return torch.cat([torch.zeros_like(one), one], 1)

    return logits


def _unchecked(net: Any) -> Callable[[Tensor], Any]:
    """Without checkpoints, through which `torch.autograd.grad` does not go."""
    return lambda x: net.head(Net.features(net, x).mean((2, 3)))


def _middle() -> Any:
    import assay

    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:6, 2:6] = True
    return assay.Mean(mask, 1)


@dataclass(frozen=True)
class Strange:
    """A row of the table; see `model_rows.Row`."""

    name: str
    plain: Callable[[], Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    function: Callable[[Any], Callable[[Tensor], Any]] | None = None
    target: Callable[[], Any] | None = None
    value: Callable[[Tensor], Tensor] | None = None

    def make(self, _size: tuple[int, int]) -> Any:
        """The network."""
        return self.plain()


ALL = (
    Strange("`x.view(-1, n)` after a convolution", Views),
    Strange("a convolution read by two branches", Branch),
    Strange("a buffer made at the first call", LazyBuffer),
    Strange("`isinstance(x, Tensor)` decides", AsksType),
    Strange("`forward` put on the instance", _patched),
    Strange("`net.forward = torch.compile(net.forward)`", _compiled_forward),
    Strange("`torch.compile(net)`", lambda: torch.compile(Net().eval(), backend="eager")),
    Strange("`nn.DataParallel(net)`", lambda: nn.DataParallel(Net())),
    Strange("a parameter of five axes, `Conv3d`", Volume),
    Strange("complex parameters", Fourier),
    Strange("weights in float64", lambda: Net().double(), function=lambda net: lambda x: net(x.double()).float()),
    Strange("weights in bfloat16", lambda: Net().bfloat16(), function=lambda net: copy.deepcopy(net).float()),
    Strange("weight norm", _normed(nn.utils.weight_norm)),
    Strange("weight norm, parametrised", _normed(parametrizations.weight_norm)),
    Strange("spectral norm", _normed(nn.utils.spectral_norm)),
    Strange("pruned", _normed(lambda layer: prune.l1_unstructured(layer, "weight", 0.5))),
    Strange("gradient checkpointing", Checkpointed),
    Strange("gradient checkpointing, reentrant", CheckpointedOld, function=_unchecked),
    Strange("forward hooks, one of which changes an output", _hooked),
    Strange("works in place on its input", InPlace, function=lambda net: lambda x: net(x.clone())),
    Strange("autocast within", Autocasts),
    Strange("`torch.fx` graph", _graph),
    Strange("TorchScript, scripted", _scripted(False)),
    Strange("TorchScript, traced", _scripted(True)),
    Strange("exported program", _exported, function=lambda net: net.module()),
    Strange("quantised", _quantised),
    Strange("lazy layers, used once", _lazy(True)),
    Strange("lazy layers, never used", _lazy(False)),
    Strange("logits in a dictionary", Dictionary, function=lambda net: lambda x: net(x)["logits"]),
    Strange("logits in a tuple, `select=1`", Pair, {"select": 1}, lambda net: lambda x: net(x)[1]),
    Strange("probabilities", Probabilities),
    Strange("one logit (N, 1), class 1 explained", One, function=_two, target=lambda: 1, value=lambda logits: logits[:, 1]),
    Strange("one logit (N,), class 1 explained", OneFlat, function=_two, target=lambda: 1, value=lambda logits: logits[:, 1]),
    Strange("findings, `head='sigmoid'`", Net, {"head": "sigmoid"}),
    Strange("a value, `head='scalar'`", One, {"head": "scalar"}),
    Strange("segmentation, `Mean(mask, k)`", Segments, target=_middle, value=lambda logits: logits[:, 1, 2:6, 2:6].mean((1, 2))),
    Strange("hard sigmoid and hard swish", Hard),
    Strange("rounding with a gradient of its own", StraightThrough),
    Strange("steps, which have no gradient", Detached),
    Strange("dropout that eval mode leaves on", LiveDropout),
    Strange("batch statistics", BatchStatistics),
    Strange("a module around an onnxruntime session", Session),
    Strange("a function: scikit-learn's forest", _forest),
)
