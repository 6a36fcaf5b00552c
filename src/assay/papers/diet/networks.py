"""The models of the DiET study: the baseline f_b, trained or given, and the masks of new images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from assay.core.precision import Precision
from assay.core.progress import Progress
from assay.core.registry import build
from assay.data import Dataset
from assay.models.classifier import Classifier
from assay.models.nets.architecture import Architecture
from assay.models.sources.card import Card, from_json, to_json
from assay.models.sources.spec import FoundNetwork, source
from assay.models.training.recipe import Recipe
from assay.models.training.training import train
from assay.papers.diet.data import Part
from assay.papers.diet.keep import Keeper, TrainingStates
from assay.tune.diet import Tuned
from assay.tune.network import PixelNet

__all__ = ["Baseline", "given", "learned_masks", "trained"]


@dataclass(frozen=True, eq=False)
class Baseline:
    """The model f_b.

    Attributes:
        net: What DiET tunes: takes pixels in [0, 1].
        card: Its card, where it has one.
        classifier: It in pixel space, in a precision.
    """

    net: nn.Module | Classifier
    card: Card | None
    classifier: Callable[[Precision], Classifier]


def given(model: str, seed: int, device: torch.device) -> Baseline:
    """The model that the user names; see `assay.models.sources.spec.source`."""
    found = source(model, seed=seed)
    if isinstance(found, Classifier):
        # A factory decides all of it, the precision too.
        return Baseline(found, None, lambda precision: found)  # noqa: ARG005
    return _of_net(found, device)


def trained(
    keeper: Keeper,
    name: str,
    training: tuple[Architecture, Recipe],
    parts: tuple[Dataset, Dataset],
    seed: int,
    device: torch.device,
    progress: Progress,
) -> Baseline:
    """Train on the first data set, or go on, or take what was finished; the test accuracy on the second is in the card."""

    def work() -> tuple[dict[str, Tensor], dict[str, Any]]:
        states = TrainingStates(keeper.run, f"{name}-training")
        made = train(training[0], *parts, training[1], seed, progress, device=device, states=states)
        return dict(made.net.state_dict()), {"card": to_json(made.card)}

    tensors, values = keeper.do(name, work)
    card = from_json(values["card"], f"the state {name}")
    net = build(card.architecture, Architecture).make()
    net.load_state_dict(tensors)
    return _of_net(FoundNetwork(net.eval(), card.mean, card.std, card.classes, card), device)


def learned_masks(tuned: Tuned, model: Classifier, part: Part, seed: int, progress: Progress, stage: str) -> Tensor:
    """Masks (N, 1, H, W) of images that the model was not tuned on, learned with the model fixed."""
    explainer, found, done = tuned.explainer(), [], 0
    for block in part.blocks(128):
        found.append(explainer(model, block.pixels, index=block.index, seed=seed).cpu())
        done += len(block)
        progress(stage, done, len(part))
    return torch.cat(found)


def _of_net(found: FoundNetwork, device: torch.device) -> Baseline:
    whole = PixelNet(found.net, found.mean, found.std).eval().to(device)
    return Baseline(whole, found.card, lambda precision: Classifier(whole, precision=precision, classes=found.classes))
