"""The networks of the robustness study: how each is trained, where its weights are, and what to do when they are missing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from assay.attack.predictions.adversary import PGDTraining
from assay.attack.predictions.pgd import PGD
from assay.errors import SpecError, WeightsError
from assay.models.sources import checkpoint
from assay.models.sources.card import Card
from assay.models.training.recipe import Flip, Recipe, Shift
from assay.papers.settings import Preset

__all__ = ["JUDGE", "ROBUST", "TRAININGS", "Network", "Training", "default_models", "networks", "training_command"]

ROBUST = "-robust"
"""What the name of a robust twin adds to that of the standard one."""
_FIRST = "-first"
"""What the name of a network adds whose training another one goes on from, and which is not studied itself."""
JUDGE = PGD(eps=0.5, norm="l2", steps=20, restarts=1)
"""The attack by which the cards' robust accuracy is measured."""
_ADVERSARY = PGDTraining(eps=0.5, norm="l2")
_AUGMENT = (Shift(4), Flip())


@dataclass(frozen=True)
class Training:
    """How a network is trained on CIFAR-10.

    Attributes:
        architecture: A name of `assay.models.nets.named.NAMED`.
        recipe: Its recipe, with the adversary for a robust twin.
        start: The network of this table whose weights training begins with; None for random ones.
    """

    architecture: str
    recipe: Recipe
    start: str | None = None


def _twins(name: str, architecture: str, recipe: Recipe, epochs: int, lr: float) -> dict[str, Training]:
    """A network, and its robust twin that goes on from its weights: fewer epochs than from random ones."""
    robust = replace(recipe, epochs=epochs, lr=lr, adversary=_ADVERSARY)
    return {name: Training(architecture, recipe), name + ROBUST: Training(architecture, robust, name)}


def _strangers(name: str, architecture: str, recipe: Recipe) -> dict[str, Training]:
    """A network and its robust twin, each from random weights as in the paper."""
    return {name: Training(architecture, recipe), name + ROBUST: Training(architecture, replace(recipe, adversary=_PAPER_ADVERSARY))}


# The first of two cycles of the learning rate; the second goes on from its weights.
_SMALL = Recipe(epochs=10, optimiser="muon", lr=0.03, weight_decay=0.05, augment=_AUGMENT, precision="float32")
_SMALL_TOKENS = Recipe(epochs=20, optimiser="adamw", lr=1.5e-3, weight_decay=0.05, augment=_AUGMENT, precision="bfloat16")
# The paper's robust ResNets come from the `robustness` library: PGD of 7 steps.
_PAPER = Recipe(epochs=150, lr=0.1, warmup=0.05, label_smoothing=0.0, augment=_AUGMENT)
_PAPER_TOKENS = Recipe(epochs=200, optimiser="adamw", lr=5e-4, weight_decay=0.05, augment=_AUGMENT)
_PAPER_ADVERSARY = PGDTraining(eps=0.5, norm="l2", steps=7)

TRAININGS: dict[str, Training] = (
    {f"resnet-cifar10{_FIRST}": Training("resnet-small", _SMALL)}
    | _twins("resnet-cifar10", "resnet-small", _SMALL, epochs=2, lr=0.01)
    | {"resnet-cifar10": Training("resnet-small", replace(_SMALL, epochs=5, lr=0.015, warmup=0.1), f"resnet-cifar10{_FIRST}")}
    | _twins("vit-cifar10", "vit-small", _SMALL_TOKENS, epochs=7, lr=1e-3)
    | _twins("convmixer-cifar10", "convmixer-small", replace(_SMALL_TOKENS, epochs=10, lr=4e-3), epochs=6, lr=2e-3)
    | _twins("swin-cifar10", "swin-small", replace(_SMALL_TOKENS, epochs=16), epochs=7, lr=1e-3)
    | _strangers("resnet-cifar10-paper", "resnet-paper", _PAPER)
    | _strangers("vit-cifar10-paper", "vit-paper", _PAPER_TOKENS)
    | _strangers("convmixer-cifar10-paper", "convmixer-paper", _PAPER_TOKENS)
    | _strangers("swin-cifar10-paper", "swin-paper", _PAPER_TOKENS)
)
"""Every network that the study takes by default, and what they go on from, by name; cards, messages and documents follow this table."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its weights.

    Attributes:
        name: What the tables call it.
        net: Takes normalised images.
        card: Its card.
    """

    name: str
    net: nn.Module
    card: Card

    @property
    def backbone(self) -> str:
        """The name that it shares with its twin."""
        return self.name.removesuffix(ROBUST)

    @property
    def twin(self) -> str:
        """Which of the two it is: "standard" or "robust"."""
        return "robust" if self.name.endswith(ROBUST) else "standard"


def default_models(preset: Preset) -> tuple[str, ...]:
    """Names of the eight networks of a preset."""
    studied = (name for name in TRAININGS if not name.endswith(_FIRST))
    return tuple(name for name in studied if ("-paper" in name) == (preset == "paper"))


def training_command(name: str, folder: str | Path = ".") -> str:
    """The command that makes the checkpoint of a network.

    Args:
        name: One of `TRAININGS`.
        folder: Where it is written, and where what it goes on from is where the package has it not.
    """
    training, place = TRAININGS[name], Path(folder)
    words = ["assay train --data cifar10 --architecture", training.architecture]
    specs = {
        "--recipe": replace(training.recipe, adversary=None),
        "--adversarial": training.recipe.adversary,
        "--robust-accuracy": JUDGE,
    }
    for option, value in specs.items():
        if value is not None:
            # Specs take either kind of quotes, and double ones stay readable inside the shell's single ones.
            words.append(f"{option} {shlex.quote(repr(value).replace(chr(39), chr(34)))}")
    if training.start is not None:
        begin = _place(training.start, place) or str(place / f"{training.start}{checkpoint.SUFFIX}")
        words.append(f"--start {shlex.quote(begin)}")
    return " ".join([*words, "--half --out", shlex.quote(str(place / f"{name}{checkpoint.SUFFIX}"))])


def networks(models: Sequence[str], weights: Path | None) -> tuple[Network, ...]:
    """The networks with their weights: NAME.safetensors of the folder where it is there, else shipped, else a checkpoint's path.

    Args:
        models: Shipped names, names of `TRAININGS`, or paths of checkpoints; a robust twin's name ends in `ROBUST`.
        weights: A folder of checkpoints, or None.

    Raises:
        SpecError: A network is named twice.
        WeightsError: Weights are missing, with the commands that make them, or cannot be used.
    """
    if weights is not None and not weights.is_dir():
        raise WeightsError(f"there is no folder of weights {weights}")
    places = {_stem(spec): _place(spec, weights) for spec in models}
    if len(places) < len(models):
        raise SpecError(f"a network is named twice in {', '.join(models)}; give each once")
    missing = [name for name, place in places.items() if place is None]
    if missing:
        raise WeightsError(_message(missing, weights))
    return tuple(Network(name, *checkpoint.read(place)) for name, place in places.items() if place is not None)


def _stem(spec: str) -> str:
    return Path(spec).stem if checkpoint.looks_like_path(spec) else spec


def _place(spec: str, weights: Path | None) -> str | None:
    own = None if weights is None else weights / f"{_stem(spec)}{checkpoint.SUFFIX}"
    if own is not None and own.is_file():
        return str(own)
    return spec if spec in checkpoint.shipped() or Path(spec).is_file() else None


def _message(missing: Sequence[str], weights: Path | None) -> str:
    where = "the package" if weights is None else f"{weights} and not in the package"
    known = [name for name in missing if name in TRAININGS]
    text = f"the weights of {', '.join(missing)} are not in {where}"
    if len(known) == len(missing):
        lineages = dict.fromkeys(each for name in known for each in _lineage(name))
        needed = [name for name in lineages if _place(name, weights) is None]
        commands = (training_command(name, weights or "weights") for name in needed)
        return f"{text}; make them by {' ; '.join(commands)} and give the folder by --weights"
    return f"{text}; give names of shipped networks or paths of checkpoints (the study knows how to train {', '.join(TRAININGS)})"


def _lineage(name: str) -> tuple[str, ...]:
    """A network of the table after those that it goes on from."""
    start = TRAININGS[name].start
    return (name,) if start is None else (*_lineage(start), name)
