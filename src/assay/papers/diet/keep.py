"""The DiET study's finished steps, and training and tuning on their way, as states of a run folder."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from assay.core.progress import Progress
from assay.models.classifier import Classifier
from assay.run.folder import Run
from assay.run.state import State
from assay.study.tune import tune_kept
from assay.tune.diet import DiET, Tuned

__all__ = ["Keeper", "TrainingStates", "slug", "tune"]

_SECONDS, _ORDER = "seconds", "order"


@dataclass
class Keeper:
    """Steps that are done once: what a step came to is kept in the run folder.

    Attributes:
        run: The run folder.
        seconds: How long each step took on the start that finished it.
    """

    run: Run
    seconds: dict[str, float] = field(default_factory=dict)

    def do(self, name: str, work: Callable[[], State], spent: float = 0.0) -> State:
        """The tensors and values that `work` gives, or gave on an earlier start.

        Args:
            name: Of the step.
            work: Does it.
            spent: Seconds that went into it before.
        """
        found = self.run.load_state(name)
        if found is None:
            began = time.perf_counter()
            tensors, values = work()
            self.seconds[name] = round(spent + time.perf_counter() - began, 2)
            self.run.save_state(name, tensors, {**values, _SECONDS: self.seconds[name], _ORDER: list(tensors)})
            return tensors, values
        tensors, values = found
        self.seconds[name] = values[_SECONDS]
        # Files of tensors are sorted by name; tables are not.
        return {key: tensors[key] for key in values[_ORDER]}, values


@dataclass(frozen=True)
class TrainingStates:
    """Keeps a training's last state; see `assay.models.training.training.States`."""

    run: Run
    name: str

    def last(self) -> State | None:
        """What was kept last, or None."""
        return self.run.load_state(self.name)

    def keep(self, state: State) -> None:
        """Keep `state` in place of the last one."""
        self.run.save_state(self.name, *state)


def tune(keeper: Keeper, name: str, diet: DiET, net: nn.Module | Classifier, images: Tensor, seed: int, progress: Progress) -> Tuned:
    """Tune, or go on tuning from the state kept last, or take what was finished; see `assay.study.tune.tune_kept`.

    Args:
        keeper: Keeps the states.
        name: Of the step.
        diet: The recipe.
        net: What is tuned.
        images: (N, C, H, W) uint8.
        seed: Decides all randomness.
        progress: Told about every epoch.
    """
    began = time.perf_counter()
    tuned = tune_kept(keeper.run, name, diet, net, images, seed=seed, progress=progress)
    spent = time.perf_counter() - began
    keeper.do(name, lambda: ({}, {}), spent)
    return tuned


def slug(*names: str) -> str:
    """Names as one word that a file name takes."""
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-").replace(".", "_") for name in names if name).lower()
