"""The networks of the DiET study: the baseline f_b, trained or given, and what tuning it came to."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.core.environment import code, machine, packages
from assay.core.registry import build
from assay.data import Dataset
from assay.errors import SpecError
from assay.models.classifier import Classifier
from assay.models.nets.architecture import Architecture
from assay.models.sources.model_card import from_json, to_json
from assay.models.sources.spec import FoundNetwork, source
from assay.models.training.fitting import State
from assay.models.training.manipulation import Manipulation
from assay.models.training.recipe import Recipe
from assay.models.training.training import TrainingPlan, train
from assay.papers.paper import Paper
from assay.run.checkpoints import Checkpoints
from assay.run.folder import Run
from assay.study.tune import tune_kept
from assay.tune.diet import DiET, Tuned
from assay.tune.network import PixelNet, wrapped

__all__ = ["TunedPixelNet", "classifier", "given", "manipulated", "passes", "trained", "tuned_pixel_net"]

_KEPT, _MASKS, _WEIGHTS = "outcome", "masks.", "weights."


@dataclass(frozen=True, eq=False)
class TunedPixelNet:
    """What a tuning came to.

    Attributes:
        diet: The recipe.
        net: f_v: takes pixels in [0, 1].
        masks: (N, 1, rows, columns) of each round, as learned.
        history: Facts of each round.
        chosen: Number of the round that was taken, from 0.
        passes: Of one image, forward or backward.
        seconds: Time of all starts.
    """

    diet: DiET
    net: PixelNet
    masks: tuple[Tensor, ...]
    history: tuple[Mapping[str, Any], ...]
    chosen: int
    passes: int
    seconds: float

    @property
    def facts(self) -> Mapping[str, Any]:
        """Those of the round that was taken."""
        return self.history[self.chosen]

    @property
    def grid(self) -> Tensor:
        """See `Tuned.grid`."""
        return self.diet.grid(self.masks, self.chosen)


def given(model: str, device: torch.device, *, weights: str | None, pretrained: bool, seed: int) -> PixelNet:
    """The baseline that the user names; see `assay.models.sources.spec.source`.

    Raises:
        SpecError: It is a Classifier already, whose network cannot be tuned.
    """
    found = source(model, weights, pretrained=pretrained, seed=seed)
    if isinstance(found, Classifier):
        raise SpecError(f"{model} returns a Classifier, whose network is prepared for inference; let the factory return the network")
    return _pixel_net(found, device)


def trained(
    paper: Paper, name: str, spec: tuple[Architecture, Recipe], parts: tuple[Dataset, Dataset], seed: int, device: torch.device
) -> PixelNet:
    """The baseline, trained, or gone on with, or as an earlier start left it; its test accuracy is in the card."""
    settings = {"architecture": repr(spec[0]), "recipe": repr(spec[1]), "seed": seed, "data": [repr(one) for one in parts]}

    def make(run: Run) -> State:
        made = train(TrainingPlan(spec[0], *parts, spec[1], seed), paper.staged(name), device=device, states=Checkpoints(run, "training"))
        return dict(made.net.state_dict()), {"card": to_json(made.card)}

    kept = _once(paper, name, settings, device, make)
    card = from_json(kept[1]["card"], f"the state {name}")
    net = build(card.architecture, Architecture).make()
    net.load_state_dict(kept[0])
    return _pixel_net(FoundNetwork(net.eval(), card.mean, card.std, card.classes, card), device)


def tuned_pixel_net(
    paper: Paper, name: str, diet: DiET, base: PixelNet, images: Tensor, seed: int, about: Mapping[str, Any]
) -> TunedPixelNet:
    """Tune the baseline, or go on from the state kept last, or take what an earlier start came to.

    Args:
        paper: The study under way.
        name: Of the job.
        diet: The recipe.
        base: f_b.
        images: (N, C, H, W) uint8.
        seed: Decides all randomness.
        about: What else the outcome depends on, for the record.
    """

    def make(run: Run) -> State:
        return _state(tune_kept(run, "tuning", diet, base, images, seed=seed, progress=paper.staged(name)), len(images))

    tensors, values = _once(paper, name, {"method": repr(diet), "seed": seed, **about}, next(base.parameters()).device, make)
    net = copy.deepcopy(base)
    net.load_state_dict({key.removeprefix(_WEIGHTS): value for key, value in tensors.items() if key.startswith(_WEIGHTS)})
    masks = tuple(tensors[f"{_MASKS}{number}"] for number in range(len(values["history"])))
    return TunedPixelNet(diet, net, masks, tuple(values["history"]), values["chosen"], values["passes"], values["seconds"])


def manipulated(
    paper: Paper, name: str, manipulation: Manipulation, base: PixelNet, images: Tensor, seed: int, about: Mapping[str, Any]
) -> PixelNet:
    """The manipulated baseline, trained, or as an earlier start left it; see `tuned_pixel_net`."""
    settings = {"manipulation": repr(manipulation), "seed": seed, **about}

    def make(_run: Run) -> State:
        return dict(manipulation(base, images, seed, paper.staged(name)).state_dict()), {}

    net = copy.deepcopy(base)
    net.load_state_dict(_once(paper, name, settings, next(base.parameters()).device, make)[0])
    return net


def classifier(net: PixelNet, like: Classifier) -> Classifier:
    """A tuned network in pixel space, as precise as `like`."""
    return wrapped(net, like, like.precision)


def passes(diet: DiET, images: int, epochs: Mapping[str, int], rounds: int) -> int:
    """Passes of a tuning: 2 for each image and mask epoch, 4 for each model epoch, and what the rounds are judged by.

    Args:
        diet: The recipe.
        images: How many.
        epochs: Of all rounds, "masks" and "model".
        rounds: How many were run.
    """
    judged = 4 + len(diet.judges)  # f_v before its masks, on images, on simplified ones and under the judges; f_b on simplified ones
    return images * (1 + 2 * epochs["masks"] + 4 * epochs["model"] + judged * rounds)


def _once(paper: Paper, name: str, settings: Mapping[str, Any], device: torch.device, make: Callable[[Run], State]) -> State:
    """What a job makes, with the seconds that it took, or what an earlier start made; states on the way are dropped in the end."""
    with Run.open(paper.place(name), command=f"study diet, {name}", settings=settings, answers=_answers(settings, device)) as run:
        kept = run.load_state(_KEPT)
        if kept is None:
            began = time.perf_counter()
            tensors, values = make(run)
            kept = tensors, {**values, "seconds": time.perf_counter() - began}
            run.save_state(_KEPT, *kept)
            for path in (run.folder / "state").glob("tuning-*.safetensors"):
                path.unlink()
            run.finish([])
    paper.seconds[name] = kept[1]["seconds"]
    return kept


def _state(found: Tuned, images: int) -> State:
    counts = {phase: sum(row["phase"] == phase for row in found.epochs) for phase in ("masks", "model")}
    tensors = {f"{_MASKS}{number}": one.masks.contiguous() for number, one in enumerate(found.rounds)}
    tensors |= {f"{_WEIGHTS}{key}": value for key, value in found.model.state_dict().items()}
    done = passes(found.settings, images, counts, len(found.rounds))
    history: Sequence[Mapping[str, Any]] = [{**one.facts} for one in found.rounds]
    return tensors, {"history": history, "chosen": found.chosen, "epochs": counts, "passes": done}


def _pixel_net(found: FoundNetwork, device: torch.device) -> PixelNet:
    return PixelNet(found.net, found.mean, found.std).eval().to(device)


def _answers(settings: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {"code": code(), "machine": machine(device), "packages": packages(), "setup": dict(settings)}
