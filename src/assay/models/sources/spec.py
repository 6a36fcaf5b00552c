"""Any network by its spec: of a library, a factory, a checkpoint, a file that holds it whole, or an architecture."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from assay.core.precision import Precision
from assay.core.registry import build, nearest, registered
from assay.core.whole_files import expanded
from assay.data.files.reading import Reading
from assay.errors import SpecError
from assay.models.classifier import Classifier
from assay.models.heads import HeadName, Output
from assay.models.nets.architectures import Architecture
from assay.models.sources import checkpoint, statedict
from assay.models.sources.factory import from_factory
from assay.models.sources.model_card import Card
from assay.models.sources.onnx import OnnxNetwork, is_onnx
from assay.models.sources.preparation import Preparation, preparation
from assay.models.sources.saved import exported, hugging_face, is_exported, is_hugging_face, is_torchscript, own_preparation, torchscript
from assay.models.sources.zoo import ZOOS

__all__ = ["FoundNetwork", "model", "network", "own_reading", "source"]

_NORMALISATION = "normalisation (--mean, --std)"
_WHOLE: tuple[tuple[Callable[[str], bool], Callable[[str], nn.Module]], ...] = (
    (is_onnx, OnnxNetwork),
    (is_torchscript, torchscript),
    (is_exported, exported),
)
"""What tells a file that holds a network whole, and what reads it."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_ENDINGS = (".pt", ".pth", ".pt2", ".ckpt", ".bin", ".onnx", ".tar")
"""What only files of networks or weights end in."""
_WAYS = {
    "weights": "a file (--weights FILE)",
    "pretrained": "the published ones (--pretrained)",
    "random_weights": "none, untrained (--random-weights)",
}


def network(
    spec: str,
    weights: str | Path | None = None,
    precision: Precision = "float32",
    output: Output = "logit",
    *,
    pretrained: bool = False,
    random_weights: bool | None = None,
    classes: Sequence[str] | str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    prepared: Any = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    head: HeadName | None = None,
) -> Classifier:
    """Build the network that `spec` names and wrap it.

    Args:
        spec: `timm:NAME`, `torchvision:NAME`, `python:module:factory` (called without arguments; modules in the current
            directory are found), a shipped name, a checkpoint's path, an architecture such as `SmallResNet()`, a TorchScript
            file, an exported program (`torch.export.save`), an ONNX file (scores only), or a folder or name (`hf:org/name`) of an
            image classifier of transformers.
        weights: A safetensors or torch file; a timm or torchvision network gets as many classes as the file has.
        precision: See `Classifier`.
        output: See `Classifier`.
        pretrained: Take the published weights of a timm or torchvision network, downloading them where needed.
        random_weights: Leave the network untrained, good only as a baseline. None does so where nothing else is said, as timm and
            torchvision do, and a note says it; False refuses.
        classes: Names of the classes, or a text file with one a line; a checkpoint brings its own.
        mean: Per-channel mean of the training data; None for what the source says (timm's own, ImageNet's for torchvision,
            the checkpoint's, otherwise none).
        std: Per-channel standard deviation, likewise.
        prepared: How pictures are prepared for the network, as `Reading`, a transform of torchvision, a configuration of timm or a
            processor of transformers; it is kept as `model.reading`, and its normalisation is taken where `mean` and `std` are None.
        device: Where to run.
        seed: Decides random weights.
        head: See `Classifier`.

    Raises:
        SpecError: The spec names nothing known, or no or a wrong choice of weights goes with it.
        WeightsError: The weights are missing, unsafe, cannot be downloaded or do not fit.
        ModelError: A factory fails or returns no network.
    """
    names = _names(classes)
    found = source(spec, weights, pretrained=pretrained, random_weights=random_weights, classes=names, seed=seed)
    if isinstance(found, Classifier):
        return _as_it_is(spec, found, plain=(weights, classes, mean, std, device, prepared) == (None,) * 6)
    own = preparation(prepared) if prepared is not None else Preparation(found.reading)
    mean, std = (given if given is not None else said for given, said in ((mean, own.mean), (std, own.std)))
    told = mean is not None or std is not None
    mean, std = mean if mean is not None else found.mean, std if std is not None else found.std
    named = names if names is not None else found.classes
    made = Classifier(found.net, mean, std, precision, output, head=head, classes=named, device=device)
    made.reading = own.reading
    made.notes = tuple(note for note in found.notes if not (told and _NORMALISATION in note))
    return made


model = network
"""What Python users call it."""


@dataclass(frozen=True, eq=False)
class FoundNetwork:
    """A network as it was found, with its weights.

    Attributes:
        net: Takes normalised images.
        mean: Per-channel mean of its training data, where it is known.
        std: Per-channel standard deviation, likewise.
        classes: Names of the classes, where they are known.
        card: A checkpoint's card.
        reading: How pictures are prepared for it, where the source says so.
        notes: What the user should know: what is not known of it, what was left out of a weights file.
    """

    net: nn.Module
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    classes: Sequence[str] | None = None
    card: Card | None = None
    reading: Reading | None = None
    notes: tuple[str, ...] = ()


def source(
    spec: str,
    weights: str | Path | None = None,
    *,
    pretrained: bool = False,
    random_weights: bool | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> FoundNetwork | Classifier:
    """The network that `spec` names, not wrapped, for what changes it; a Classifier where a factory returns one.

    Args:
        spec: See `network`, as for all others.
        weights: See there.
        pretrained: See there.
        random_weights: See there.
        classes: Names of the classes; they size an untrained timm or torchvision network.
        seed: Decides random weights.

    Raises:
        AssayError: See `network`.
    """
    spec = spec.strip()
    kind, _, name = spec.partition(":")
    asked = {"weights": weights is not None, "pretrained": pretrained, "random_weights": random_weights}
    given = [way for way, is_on in asked.items() if is_on]
    required = random_weights is not None
    if kind in ZOOS:
        _check_ways(spec, given, tuple(_WAYS), required)
        return _from_zoo(kind, name, weights, pretrained, len(classes) if classes is not None else None, seed)
    if kind == "python" and name:
        _check_ways(spec, given, ("weights",), required=False)
        made = from_factory(name)
        if isinstance(made, Classifier):
            return made
        return FoundNetwork(
            made, notes=(*_filled(made, weights), f"{spec} does not say its {_NORMALISATION}: pixels in [0, 1] go in as they are")
        )
    if spec.partition("(")[0].strip() in registered(Architecture):
        _check_ways(spec, given, ("weights", "random_weights"), required)
        net = build(spec, Architecture).make(seed)
        return FoundNetwork(net, notes=_untrained(spec) if weights is None else _filled(net, weights))
    whole = next((make for told, make in _WHOLE if told(spec)), None)
    if kind == "hf" or whole is not None or is_hugging_face(spec):
        _check_ways(spec, given, (), required=False)
        net, known = (whole(spec), {}) if whole is not None else hugging_face(name if kind == "hf" else spec)
        unknown = () if "mean" in known else (f"{spec} does not say its {_NORMALISATION}: pixels in [0, 1] go in as they are",)
        return FoundNetwork(net, notes=unknown, **known)
    _check_known(spec)
    _check_ways(spec, given, (), required=False)
    net, card = checkpoint.read_checkpoint(spec)
    return FoundNetwork(net, card.mean, card.std, card.classes, card)


def own_reading(spec: str, pretrained: bool) -> Reading | None:
    """How pictures are prepared for the published weights of timm or torchvision, or for a network of transformers; None for all others.

    Raises:
        SpecError: The library has no such network.
    """
    kind, _, name = spec.strip().partition(":")
    if kind in ZOOS:
        return ZOOS[kind].reading(name) if pretrained else None
    if kind == "hf" or is_hugging_face(spec.strip()):
        found: Reading | None = own_preparation(name if kind == "hf" else spec.strip()).get("reading")
        return found
    return None


def _from_zoo(kind: str, name: str, weights: str | Path | None, pretrained: bool, classes: int | None, seed: int) -> FoundNetwork:
    zoo = ZOOS[kind]
    if pretrained:
        net = zoo.pretrained(name)
        return FoundNetwork(net, *zoo.normalisation(net), classes=zoo.classes(name), reading=zoo.reading(name))
    if weights is None:
        net = zoo.untrained(name, classes, seed)
        return FoundNetwork(net, *zoo.normalisation(net), notes=_untrained(f"{kind}:{name}"))
    state, means = statedict.read_noted(weights)
    net, left = zoo.with_weights(name, state, str(weights))
    mean, std = zoo.normalisation(net)
    note = f"{weights} does not say its {_NORMALISATION}: taken as that of {kind}'s own weights, mean {mean} and std {std}"
    return FoundNetwork(net, mean, std, notes=(*_left_out(left, weights), *_means(means, weights), note))


def _untrained(spec: str) -> tuple[str, ...]:
    return (f"{spec} is untrained: its weights are random, so that no map of it is to be trusted",)


def _filled(net: nn.Module, weights: str | Path | None) -> tuple[str, ...]:
    """Put weights into a network, where there are any; returns what to tell the user."""
    if weights is None:
        return ()
    state, means = statedict.read_noted(weights)
    return (*_left_out(statedict.fit(net, state, str(weights)), weights), *_means(means, weights))


def _means(names: tuple[str, ...], weights: str | Path) -> tuple[str, ...]:
    told = f"{weights} also holds running means of the weights ({', '.join(names)}), which were not taken; save them alone to take them"
    return (told,) if names else ()


def _left_out(names: tuple[str, ...], weights: str | Path) -> tuple[str, ...]:
    return (f"left out of {weights}, being no part of the network: {', '.join(names)}",) if names else ()


def _names(classes: Sequence[str] | str | Path | None) -> Sequence[str] | None:
    """Class names, those of a text file by its lines."""
    if not isinstance(classes, str | Path):
        return classes
    try:
        lines = [line.strip() for line in expanded(classes).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read the class names of {classes}: {getattr(error, 'strerror', None) or error}") from error
    names = [line for line in lines if line]
    if not names or len(set(names)) < len(names):
        raise SpecError(f"{classes} must have a class name a line, each once" + ("" if names else "; it has none"))
    return names


def _as_it_is(spec: str, made: Classifier, plain: bool) -> Classifier:
    if not plain:
        raise SpecError(f"{spec} returns a Classifier, which brings its own weights, classes, normalisation and device; give none of them")
    return made


def _check_ways(spec: str, given: list[str], allowed: tuple[str, ...], required: bool) -> None:
    """Exactly one way to get weights where one is needed, and none that means nothing for this spec."""
    for way in given:
        if way not in allowed:
            raise SpecError(f"{spec} cannot get its weights from {_WAYS[way]}" + ("" if allowed else ": it has its own"))
    if len(given) > 1 or (required and not given):
        raise SpecError(f"say which weights {spec} gets, one of: {'; '.join(_WAYS[way] for way in allowed)}")


def _check_known(spec: str) -> None:
    """What is neither shipped nor looks like a path is a mistyped name of some kind, as is what begins like an address."""
    if (not _SCHEME.match(spec) and checkpoint.looks_like_path(spec)) or spec in checkpoint.shipped():
        return
    if not _SCHEME.match(spec) and Path(spec).suffix in _ENDINGS:
        raise SpecError(
            f"there is no file {spec}; give the path of a network or a checkpoint, or one of timm:NAME, torchvision:NAME, hf:NAME"
        )
    known = [*checkpoint.shipped(), *registered(Architecture), *(f"{zoo}:" for zoo in ZOOS), "python:"]
    raise SpecError(
        f"unknown model {spec!r}{nearest(spec.partition('(')[0], known)}; a model is timm:NAME, torchvision:NAME, python:module:factory, "
        f"a .safetensors checkpoint, a TorchScript, .pt2 or .onnx file, a folder or hf:NAME of transformers, "
        f"a shipped network ({', '.join(checkpoint.shipped())}) or an architecture such as SmallResNet()"
    )
