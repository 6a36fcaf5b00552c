"""The DiET study's finished steps, and training and tuning on their way, as states of a run folder."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from assay.core.progress import Progress
from assay.models.classifier import Classifier
from assay.study.run import Run
from assay.study.run_state import State
from assay.tune.diet import DiET, Tuned

__all__ = ["Keeper", "TrainingStates", "slug", "tune"]

_EVERY = 20.0
"""Seconds between states of a tuning on its way."""
_FINISHED, _SECONDS, _ORDER = "finished", "seconds", "order"


@dataclass
class Keeper:
    """Steps that are done once: what a step came to is kept in the run folder.

    Attributes:
        run: The run folder.
        seconds: How long each step took, on all starts together.
        made: Names of the steps that this process did.
    """

    run: Run
    seconds: dict[str, float] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    def do(self, name: str, work: Callable[[], State]) -> State:
        """The tensors and values that `work` gives, or gave on an earlier start."""
        found = self.run.load_state(name)
        if found is None:
            began = time.perf_counter()
            tensors, values = work()
            values = {**values, _ORDER: list(tensors)}
            self.keep(name, tensors, values, time.perf_counter() - began)
            self.made.append(name)
            return tensors, values
        tensors, values = found
        self.seconds[name] = values[_SECONDS]
        # Files of tensors are sorted by name; tables are not.
        return {key: tensors[key] for key in values[_ORDER]}, values

    def keep(self, name: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any], seconds: float) -> None:
        """Keep what a step came to, or how far it is."""
        self.seconds[name] = round(seconds, 2)
        self.run.save_state(name, tensors, {**values, _SECONDS: self.seconds[name]})


@dataclass(frozen=True)
class TrainingStates:
    """Keeps a training's last state; see `assay.models.training.States`."""

    run: Run
    name: str

    def last(self) -> State | None:
        """What was kept last, or None."""
        return self.run.load_state(self.name)

    def keep(self, state: State) -> None:
        """Keep `state` in place of the last one."""
        self.run.save_state(self.name, *state)


def tune(keeper: Keeper, name: str, diet: DiET, net: nn.Module | Classifier, images: Tensor, seed: int, progress: Progress) -> Tuned:
    """Tune, or go on tuning from the state kept last, or take what was finished.

    Args:
        keeper: Keeps the states.
        name: Of the state.
        diet: The recipe.
        net: What is tuned.
        images: (N, C, H, W) uint8.
        seed: Decides all randomness.
        progress: Told about every epoch.
    """
    tuning = diet.begin(net, images, seed=seed, progress=progress)
    kept = keeper.run.load_state(name)
    spent = 0.0
    if kept is not None:
        spent = kept[1][_SECONDS]
        keeper.seconds[name] = spent
        tuning.go_on({**kept[0], **kept[1]})
    began = last = time.perf_counter()
    for _ in tuning.epochs():
        now = time.perf_counter()
        if now - last > _EVERY:
            keeper.keep(name, *parted(tuning.state()), spent + now - began)
            last = time.perf_counter()
    if kept is None or not kept[1].get(_FINISHED):
        tensors, values = parted(tuning.state())
        keeper.keep(name, tensors, {**values, _FINISHED: True}, spent + time.perf_counter() - began)
        keeper.made.append(name)
    return diet.finish(tuning)


def parted(state: Mapping[str, Any]) -> State:
    """A state's tensors, and its plain values."""
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    return tensors, {name: value for name, value in state.items() if name not in tensors}


def slug(*names: str) -> str:
    """Names as one word that a file name takes."""
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-").replace(".", "_") for name in names if name).lower()
