"""The models of the DiET study: the baseline f_b, trained or given, and the masks of new images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from assay.core.progress import Progress
from assay.core.registry import build
from assay.data import Dataset
from assay.models import checkpoint
from assay.models.architecture import Architecture
from assay.models.card import Card, from_json, to_json
from assay.models.classifier import Classifier, Precision
from assay.models.recipe import Recipe
from assay.models.spec import network
from assay.models.training import train
from assay.study.diet_data import Part
from assay.study.diet_keep import Keeper, TrainingStates
from assay.tune.diet import Tuned
from assay.tune.network import PixelNet

__all__ = ["Baseline", "given", "learned_masks", "trained"]


@dataclass(frozen=True, eq=False)
class Baseline:
    """The model f_b.

    Attributes:
        net: What DiET tunes: takes pixels in [0, 1].
        classes: Names of its classes.
        card: Its card, where it has one.
        source: Where it is from.
        classifier: It in pixel space, in a precision.
    """

    net: nn.Module | Classifier
    classes: tuple[str, ...]
    card: Card | None
    source: str
    classifier: Callable[[Precision], Classifier]


def given(model: str, seed: int) -> Baseline:
    """The model that the user names; see `assay.models.spec.network`."""
    if checkpoint.looks_like_path(model) or model in checkpoint.shipped():
        net, card = checkpoint.read(model)
        return _of_card(net, card, model)
    built = network(model, seed=seed)
    return Baseline(built, built.classes, None, model, lambda precision: network(model, precision=precision, seed=seed))


def trained(
    keeper: Keeper, name: str, architecture: Architecture, recipe: Recipe, parts: tuple[Dataset, Dataset], seed: int, progress: Progress
) -> Baseline:
    """Train on the first data set, or go on, or take what was finished; the test accuracy on the second is in the card."""

    def work() -> tuple[dict[str, Tensor], dict[str, Any]]:
        states = TrainingStates(keeper.run, f"{name}-training")
        made = train(architecture, *parts, recipe, seed, progress, states=states)
        return dict(made.net.state_dict()), {"card": to_json(made.card)}

    tensors, values = keeper.do(name, work)
    card = from_json(values["card"], f"the state {name}")
    net = build(card.architecture, Architecture).make()  # type: ignore[type-abstract]
    net.load_state_dict(tensors)
    return _of_card(net, card, f"{card.architecture}, {card.recipe}")


def learned_masks(tuned: Tuned, model: Classifier, part: Part, seed: int, progress: Progress, stage: str) -> Tensor:
    """Masks (N, 1, H, W) of images that the model was not tuned on, learned with the model fixed."""
    explainer, found, done = tuned.explainer(), [], 0
    for block in part.blocks(128):
        found.append(explainer(model, block.pixels, index=block.index, seed=seed).cpu())
        done += len(block)
        progress(stage, done, len(part))
    return torch.cat(found)


def _of_card(net: nn.Module, card: Card, source: str) -> Baseline:
    whole = PixelNet(net, card.mean, card.std).eval()
    return Baseline(whole, card.classes, card, source, lambda precision: Classifier(whole, precision=precision, classes=card.classes))
