"""The networks of the robustness study: which are studied, where their weights are, and what to do when they are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from assay.errors import SpecError, WeightsError
from assay.models.sources import checkpoint
from assay.models.sources.model_card import Card
from assay.models.sources.trainings import TRAININGS, TWINS, backbone, is_robust, lineage, training_command
from assay.papers.settings import Preset

__all__ = ["GRADED", "PaperNetwork", "default_models", "graded_networks", "networks"]

GRADED = "-eps"
"""What stands before the radius in the name of a network of figure 3; see `assay.papers.robustness.graded`."""
_FEWEST = 3
"""Networks of graded robustness that a rank correlation needs."""


@dataclass(frozen=True, eq=False)
class PaperNetwork:
    """A network with its weights.

    Attributes:
        name: What the tables call it.
        net: Takes normalised images.
        card: Its card.
        graded: Whether it is one of figure 3's.
    """

    name: str
    net: nn.Module
    card: Card
    graded: bool = False

    @property
    def backbone(self) -> str:
        """The name that it shares with its twins."""
        return backbone(self.name)

    @property
    def robust(self) -> bool:
        """Whether it was trained against an adversary."""
        return is_robust(self.name)


def default_models(preset: Preset) -> tuple[str, ...]:
    """Names of the networks of a preset: the pairs with a twin in the paper's ball that are shipped, or those of the paper's sizes."""
    pairs = [(name, name + TWINS) for name, one in TRAININGS.items() if name + TWINS in TRAININGS and one.preset == preset]
    studied = tuple(name for pair in pairs for name in pair)
    # Where none is there, all are asked for, and the message says how they are made.
    return tuple(name for name in studied if name in checkpoint.shipped()) or studied


def networks(models: Sequence[str], weights: Path | None) -> tuple[PaperNetwork, ...]:
    """The networks with their weights: NAME.safetensors of the folder where it is there, else shipped, else a checkpoint's path.

    Args:
        models: Shipped names, names of `TRAININGS`, or paths of checkpoints.
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
    return tuple(PaperNetwork(name, *checkpoint.read_checkpoint(place)) for name, place in places.items() if place is not None)


def graded_networks(folder: Path) -> tuple[PaperNetwork, ...]:
    """Figure 3's networks, in the order of their radii.

    Raises:
        WeightsError: There are fewer than three, or one cannot be used.
    """
    found = sorted(folder.glob(f"*{GRADED}*{checkpoint.SUFFIX}"), key=lambda path: float(path.stem.rpartition(GRADED)[2]))
    if len(found) < _FEWEST:
        raise WeightsError(f"{folder} has {len(found)} networks of graded robustness; make them by assay study graded --out {folder}")
    return tuple(PaperNetwork(path.stem, *checkpoint.read_checkpoint(path), graded=True) for path in found)


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
    if len(known) < len(missing):
        return f"{text}; give names of shipped networks or paths of checkpoints (the study knows how to train {', '.join(TRAININGS)})"
    folder = weights or Path("weights")
    needed = [name for name in dict.fromkeys(each for name in known for each in lineage(name)) if _place(name, weights) is None]

    def place(name: str) -> str:
        return _place(name, weights) or str(folder / f"{name}{checkpoint.SUFFIX}")

    return f"{text}; make them by {' ; '.join(training_command(name, place) for name in needed)} and give the folder by --weights"
