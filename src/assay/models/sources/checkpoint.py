"""Checkpoints: `NAME.safetensors` with its card `NAME.json` beside it, on disk or shipped with the package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import torch
from safetensors.torch import save as to_bytes
from torch import nn

from assay.core.precision import Precision
from assay.core.registry import build, nearest
from assay.core.whole_files import check_destination as check_folder
from assay.core.whole_files import write_all
from assay.errors import DataError, SpecError, WeightsError
from assay.models.classifier import Classifier, Output
from assay.models.nets.architectures import Architecture
from assay.models.sources import statedict
from assay.models.sources.model_card import Card, from_json, to_json
from assay.models.sources.trainings import TRAININGS, lineage, training_command

__all__ = ["SUFFIX", "card_path", "check_checkpoint_path", "content", "load", "looks_like_path", "read_checkpoint", "save", "shipped"]

SUFFIX = ".safetensors"


def card_path(path: str | Path) -> Path:
    """Where the card of the checkpoint `path` is."""
    return Path(path).with_suffix(".json")


def check_checkpoint_path(path: str | Path, overwrite: bool = False) -> Path:
    """The path of a checkpoint to write, checked before the work and not after it; nothing is made.

    Raises:
        WeightsError: The name does not end in .safetensors, the folder cannot be made or written, or the file exists.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise WeightsError(f"a checkpoint's name ends in {SUFFIX}, not {path.name!r}")
    try:
        check_folder(path.parent)
    except DataError as error:
        raise WeightsError(str(error)) from error
    for taken in (path, card_path(path)):
        if taken.exists() and not overwrite:
            raise WeightsError(f"{taken} exists already; choose another name or say that it may be overwritten")
    return path


def content(path: str | Path, net: nn.Module, card: Card) -> tuple[dict[str, bytes], Card]:
    """The files of a checkpoint by name, and the card with the hash of the weights' file."""
    path = Path(path)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    weights = to_bytes(statedict.halved(state) if card.stored == "float16" else state)
    card = card.of_file(hashlib.sha256(weights).hexdigest())
    return {path.name: weights, card_path(path).name: to_json(card).encode()}, card


def save(path: str | Path, net: nn.Module, card: Card, overwrite: bool = False) -> Card:
    """Write a network and its card; both appear whole or not at all. Returns the card with the file's hash.

    Raises:
        WeightsError: See `check_destination`.
    """
    path = check_checkpoint_path(path, overwrite)
    made, card = content(path, net, card)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_all(path.parent, made)
    return card


def shipped() -> tuple[str, ...]:
    """Names of the checkpoints that come with the package."""
    return tuple(sorted(Path(item.name).stem for item in _home().iterdir() if item.name.endswith(SUFFIX)))


def looks_like_path(name: str) -> bool:
    """True when `name` names a file rather than a shipped checkpoint."""
    path = Path(name)
    return path.suffix == SUFFIX or path.parent != Path() or path.is_file()


def read_checkpoint(name: str | Path) -> tuple[nn.Module, Card]:
    """The network, in eval mode on the CPU, and the card of a checkpoint.

    Args:
        name: A shipped name, or the path of a .safetensors file with its card beside it.

    Raises:
        WeightsError: There is no such checkpoint, the card is missing or belongs to other weights, or a tensor does not fit.
    """
    with _located(str(name)) as path:
        card = _read_card(path)
        if hashlib.sha256(path.read_bytes()).hexdigest() != card.sha256:
            raise WeightsError(f"{path.name} is not the file that its card {card_path(path).name} describes (the SHA-256 differs)")
        state = statedict.read_weights(path)
        try:
            architecture = build(card.architecture, Architecture)
        except SpecError as error:
            raise WeightsError(f"{card_path(path)} names an architecture that cannot be built: {error}") from error
        net = architecture.make()
        statedict.fit(net, state, path.name)
    return net.eval(), card


def load(
    name: str | Path,
    precision: Precision = "float32",
    output: Output = "logit",
    *,
    device: torch.device | str | None = None,
) -> Classifier:
    """A Classifier with the weights, normalisation and class names of a checkpoint; see `read` and `Classifier`."""
    net, card = read_checkpoint(name)
    return Classifier(net, card.mean, card.std, precision, output, classes=card.classes, device=device)


def _read_card(path: Path) -> Card:
    beside = card_path(path)
    if not beside.is_file():
        raise WeightsError(f"{path} has no card: {beside.name} must lie beside it, as `assay train` writes it")
    try:
        text = beside.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"cannot read the card {beside}: {error}") from error
    return from_json(text, str(beside))


@contextmanager
def _located(name: str) -> Iterator[Path]:
    """The file of a checkpoint; a shipped one may have to be unpacked for as long as it is read."""
    if name in shipped():
        with as_file(_home()) as folder:
            yield folder / (name + SUFFIX)
        return
    path = Path(name)
    if path.is_file():
        if path.suffix != SUFFIX:
            raise WeightsError(
                f"{path} is no checkpoint of assay, which ends in {SUFFIX}; if it holds weights, name their network and give it beside: "
                f"--model timm:NAME --weights {path} (torchvision:NAME, python:module:factory)"
            )
        yield path
        return
    if looks_like_path(name):
        raise WeightsError(f"there is no checkpoint {path}")
    if name in TRAININGS:
        commands = " ; ".join(
            training_command(each, lambda one: one if one in shipped() else one + SUFFIX) for each in lineage(name) if each not in shipped()
        )
        raise WeightsError(f"the weights of {name} do not come with the package; make them by {commands} and name the file")
    raise WeightsError(f"there is no shipped network {name!r}{nearest(name, shipped())} (shipped: {', '.join(shipped())})")


def _home() -> Traversable:
    return files("assay.models") / "weights"
