"""How the networks of the robustness paper are trained: the table that cards, messages and documents follow."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from assay.models.training.recipe import Flip, Recipe, Shift

__all__ = ["FIRST", "ROBUST", "TRAININGS", "TWINS", "Training", "backbone", "is_robust", "lineage", "training_command"]

TWINS = "-linf"
"""What the name of a network trained in Linf 8/255, as the paper's are, adds to that of the standard one."""
ROBUST = "-robust"
"""The same of a network trained in L2 0.5, which the paper does not have."""
FIRST = "-first"
"""What the name of a network adds whose training another one goes on from, and which is not studied itself."""
_ADVERSARIES = {TWINS: 'PGDTraining(eps=8/255, norm="linf")', ROBUST: 'PGDTraining(eps=0.5, norm="l2")'}
_JUDGES = {
    TWINS: 'PGD(eps=8/255, norm="linf", steps=20, restarts=2)',
    ROBUST: 'PGD(eps=0.5, norm="l2", steps=20, restarts=1)',
}
_AUGMENT = (Shift(4), Flip())


@dataclass(frozen=True)
class Training:
    """How a network is trained on CIFAR-10.

    Attributes:
        architecture: A name of `assay.models.nets.named.NAMED`.
        recipe: Its recipe, without an adversary.
        judge: Spec of the attack by which robust accuracy is measured.
        adversary: Spec of what it is trained against; None for a standard network.
        start: The network of this table whose weights training begins with; None for random ones.
        attacked: How many of the test images the judge attacks; None for all.
        preset: Whether it is of the paper's sizes, or sized for two cores.
    """

    architecture: str
    recipe: Recipe
    judge: str = _JUDGES[TWINS]
    adversary: str | None = None
    start: str | None = None
    attacked: int | None = None
    preset: Literal["small", "paper"] = "small"


def _twins(name: str, standard: Training, epochs: int, lr: float, end: str) -> dict[str, Training]:
    """A network, and the robust twin that goes on from its weights: fewer epochs than from random ones."""
    judge = _JUDGES[end]
    robust = replace(standard, recipe=replace(standard.recipe, epochs=epochs, lr=lr), judge=judge, adversary=_ADVERSARIES[end], start=name)
    return {name: replace(standard, judge=judge), name + end: robust}


def _strangers(name: str, architecture: str, recipe: Recipe) -> dict[str, Training]:
    """A network and its robust twin, each from random weights by the same recipe, attacked by steps of 2/255, as in the paper."""
    adversary = 'PGDTraining(eps=8/255, norm="linf", steps=7, step=0.25)'
    standard = Training(architecture, recipe, preset="paper")
    return {name: standard, name + TWINS: replace(standard, adversary=adversary)}


_MUON = Recipe(optimiser="muon", lr=0.03, weight_decay=0.05, augment=_AUGMENT, precision="bfloat16")
# The first of two cycles of the learning rate; the second goes on from its weights.
_OLD = replace(_MUON, epochs=10, precision="float32")
_TOKENS = Recipe(epochs=20, optimiser="adamw", lr=1.5e-3, weight_decay=0.05, augment=_AUGMENT, precision="bfloat16")
_PAPER = Recipe(epochs=150, lr=0.1, warmup=0.05, label_smoothing=0.0, augment=_AUGMENT)
_PAPER_TOKENS = Recipe(epochs=200, optimiser="adamw", lr=5e-4, weight_decay=0.05, augment=_AUGMENT)


def _fast(architecture: str, epochs: int) -> Training:
    return Training(architecture, replace(_MUON, epochs=epochs), attacked=2000)


TRAININGS: dict[str, Training] = (
    {f"resnet-cifar10{FIRST}": Training("resnet-small", _OLD, _JUDGES[ROBUST])}
    | _twins("resnet-cifar10", Training("resnet-small", _OLD), epochs=2, lr=0.01, end=ROBUST)
    | {
        "resnet-cifar10": Training(
            "resnet-small", replace(_OLD, epochs=5, lr=0.015, warmup=0.1), _JUDGES[ROBUST], None, f"resnet-cifar10{FIRST}"
        ),
        "resnet-cifar10-linf": replace(
            _fast("resnet-small", 4), recipe=replace(_MUON, epochs=4, lr=0.02), adversary=_ADVERSARIES[TWINS], start="resnet-cifar10"
        ),
    }
    | _twins("bottleneck-cifar10", _fast("bottleneck-small", 6), epochs=7, lr=0.02, end=TWINS)
    | _twins("vgg-cifar10", _fast("vgg-small", 6), epochs=4, lr=0.02, end=TWINS)
    | _twins("googlenet-cifar10", _fast("googlenet-small", 7), epochs=4, lr=0.02, end=TWINS)
    | _twins("swin-cifar10", Training("swin-small", replace(_TOKENS, epochs=16)), epochs=7, lr=1e-3, end=ROBUST)
    | {
        "swin-cifar10-linf": Training(
            "swin-small", replace(_TOKENS, epochs=5, lr=1e-3), _JUDGES[TWINS], _ADVERSARIES[TWINS], "swin-cifar10", attacked=2000
        )
    }
    | _twins("vit-cifar10", Training("vit-small", _TOKENS), epochs=7, lr=1e-3, end=ROBUST)
    | _twins("convmixer-cifar10", Training("convmixer-small", replace(_TOKENS, epochs=10, lr=4e-3)), epochs=6, lr=2e-3, end=ROBUST)
    | _strangers("resnet-cifar10-paper", "resnet-paper", _PAPER)
    | _strangers("bottleneck-cifar10-paper", "bottleneck-paper", _PAPER)
    | _strangers("vgg-cifar10-paper", "vgg-paper", _PAPER)
    | _strangers("googlenet-cifar10-paper", "googlenet-paper", _PAPER)
    | _strangers("swin-cifar10-paper", "swin-paper", _PAPER_TOKENS)
)
"""Every network that the study takes by default, and what they go on from, by name."""


def is_robust(name: str) -> bool:
    """Whether a network's name is that of one trained against an adversary."""
    return name.endswith((TWINS, ROBUST))


def backbone(name: str) -> str:
    """The name that a network shares with its twins."""
    return name.removesuffix(TWINS).removesuffix(ROBUST)


def lineage(name: str) -> tuple[str, ...]:
    """A network of the table after those that it goes on from."""
    start = TRAININGS[name].start
    return (name,) if start is None else (*lineage(start), name)


def training_command(name: str, place: Callable[[str], str]) -> str:
    """The command that makes the checkpoint of a network.

    Args:
        name: One of `TRAININGS`.
        place: Of a network, by its name: a shipped name or a path.
    """
    training = TRAININGS[name]
    words = ["assay train --data cifar10 --architecture", training.architecture]
    given = {
        "--recipe": repr(training.recipe),
        "--adversarial": training.adversary,
        "--robust-accuracy": training.judge,
        "--attacked": None if training.attacked is None else str(training.attacked),
        "--start": None if training.start is None else place(training.start),
    }
    # Specs take either kind of quotes, and double ones stay readable inside the shell's single ones.
    words += [f"{option} {shlex.quote(value.replace(chr(39), chr(34)))}" for option, value in given.items() if value is not None]
    return " ".join([*words, "--half --out", shlex.quote(place(name))])
