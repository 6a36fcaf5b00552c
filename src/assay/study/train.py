"""Training that survives a kill, and the robust accuracy of what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from assay.attack.predictions.adversary import PGDTraining
from assay.attack.predictions.ensemble import AttackEnsemble, withstood
from assay.attack.predictions.pgd import PGD
from assay.attack.predictions.prediction import PredictionAttack
from assay.core.environment import code, machine, packages
from assay.core.progress import Progress, silent
from assay.core.ranks import Ranks
from assay.data import Dataset, stack
from assay.models.accuracy import Accuracy
from assay.models.nets.architecture import Architecture
from assay.models.sources import checkpoint
from assay.models.sources.card import Card, Robust
from assay.models.training.fitting import State
from assay.models.training.recipe import Recipe
from assay.models.training.training import Trained, pick_device, train
from assay.run.folder import Run

__all__ = ["ATTACKED", "TrainingPlan", "checkpoint_of", "folder_of", "robust_accuracy", "train_run", "usual_attack"]

ATTACKED = 1000
"""How many test images are attacked where nothing else is asked for."""
_BLOCK = 512
_STATE = "training"
_FOLDER = ".run"


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What `assay train` does, all of it.

    Args:
        architecture: What to train.
        train_set: Labelled images.
        test_set: Images of the same classes.
        recipe: How to train.
        seed: Decides all randomness.
        device: Where; None for a GPU when there is one.
        half: Keep the weights in 16 bits.
        start: Whose weights training begins with; None for random ones.
        attack: Under which the robust accuracy is measured; None for none.
        attacked: How many of the test images are attacked, spread evenly over them; all where there are no more.
        command: The command line to note in the card.
    """

    architecture: Architecture
    train_set: Dataset
    test_set: Dataset
    recipe: Recipe
    seed: int = 0
    device: torch.device | str | None = None
    half: bool = False
    start: Trained | None = None
    attack: PredictionAttack | None = None
    attacked: int = ATTACKED
    command: str = ""

    def settings(self, ranks: Ranks) -> dict[str, Any]:
        """All that decides the results."""
        return {
            "architecture": repr(self.architecture),
            "recipe": repr(self.recipe),
            "seed": self.seed,
            "half": self.half,
            "device": pick_device(self.device).type,
            "processes": ranks.world,
            "robust_accuracy": None if self.attack is None else repr(self.attack),
            "attacked": self.attacked,
            # The recipe once more, so that a refusal names the field that differs.
            "choices": {field.name: _value(getattr(self.recipe, field.name)) for field in fields(self.recipe)},
            "training images": _described(self.train_set),
            "test images": _described(self.test_set),
        } | ({} if self.start is None else {"start, SHA-256": self.start.card.sha256})

    def record(self, ranks: Ranks) -> dict[str, Any]:
        """The seven reproducibility answers; splits are used whole."""
        return {
            "algorithm": {repr(one): one.reference for one in (self.architecture, self.recipe.adversary) if one is not None},
            "code": code(),
            "data": {"training": _described(self.train_set), "test": _described(self.test_set)},
            "splits": {"training": f"0-{len(self.train_set) - 1}", "test": f"0-{len(self.test_set) - 1}"},
            "machine": machine(pick_device(self.device)),
            "packages": packages(),
            "setup": self.settings(ranks),
        }


@dataclass(frozen=True)
class _Kept:
    """The states of a run folder."""

    run: Run

    def last(self) -> State | None:
        return self.run.load_state(_STATE)

    def keep(self, state: State) -> None:
        self.run.save_state(_STATE, *state)


def folder_of(out: str | Path) -> Path:
    """The run folder that lies beside the checkpoint `out` while it is trained."""
    return Path(out).with_suffix(_FOLDER)


def checkpoint_of(out: str | Path) -> Path:
    """The checkpoint that a run folder is of, as `assay run resume` names it; other paths are checkpoints themselves."""
    path = Path(out)
    return path.with_suffix(checkpoint.SUFFIX) if path.suffix == _FOLDER else path


def train_run(
    out: str | Path,
    plan: TrainingPlan,
    options: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    ranks: Ranks | None = None,
    progress: Progress = silent,
) -> Card:
    """Train, test and write the checkpoint `out` with its card, going on from the last epoch of a run that was killed.

    While it trains, `NAME.run` beside the checkpoint keeps the settings and the state after each epoch. It is removed when
    the checkpoint is written, whose card holds all that it held but the optimiser's state.

    Args:
        out: The checkpoint, NAME.safetensors.
        plan: What to do.
        options: The command line's own options, for `assay run resume`.
        overwrite: Replace a checkpoint of that name.
        ranks: The processes that train together.
        progress: Told about reading, training steps and testing.

    Raises:
        DataError: The run folder is in use, cannot be written, or is of a training with other settings.
        WeightsError: See `checkpoint.check_destination`.
        AssayError: See `assay.models.training.training.train`.
    """
    ranks, folder = ranks or Ranks(), folder_of(out)
    # What lies there beside an unfinished run is that run's own, or what it was begun to replace.
    overwrite = overwrite or ranks.told(folder.is_dir())
    with ranks.together():
        checkpoint.check_destination(out, overwrite)
        settings = {**(options or {}), **plan.settings(ranks)}
    with Run.open(folder, command="train", settings=settings, answers=lambda: plan.record(ranks), ranks=ranks) as run:
        if not run.over:
            _train(out, plan, overwrite, run, progress)
        with ranks.together():
            if ranks.first:
                run.discard()
    return ranks.once(lambda: checkpoint.read(out)[1])


def _train(out: str | Path, plan: TrainingPlan, overwrite: bool, run: Run, progress: Progress) -> None:
    ranks = run.ranks
    trained = train(
        plan.architecture,
        plan.train_set,
        plan.test_set,
        plan.recipe,
        plan.seed,
        progress,
        device=plan.device,
        half=plan.half,
        command=plan.command,
        ranks=ranks,
        states=_Kept(run),
        start=plan.start,
    )
    if plan.attack is not None:
        attack, place = plan.attack, pick_device(plan.device, ranks)
        measured = ranks.once(lambda: robust_accuracy(trained, plan.test_set, attack, plan.attacked, plan.seed, progress, device=place))
        trained = replace(trained, card=replace(trained.card, robust=measured))

    def keep() -> None:
        checkpoint.save(out, trained.net, trained.card, overwrite)
        run.finish(())

    ranks.once(keep)


def robust_accuracy(
    trained: Trained,
    test_set: Dataset,
    attack: PredictionAttack,
    attacked: int = ATTACKED,
    seed: int = 0,
    progress: Progress = silent,
    *,
    device: torch.device | None = None,
) -> Robust:
    """How many of the test images, or of `attacked` spread evenly over them, are classified right and stay so under attack."""
    model = trained.classifier(device)
    images, labels = stack(test_set)
    index = _spread(len(images), attacked)
    images, labels = images[index], labels[index]
    correct = blind = 0
    for start in range(0, len(images), _BLOCK):
        part = slice(start, start + _BLOCK)
        robust, unclimbed = withstood(model, images[part].float() / 255, labels[part], attack, seed, index=index[part])
        correct += int(robust.sum())
        blind += int(unclimbed.sum())
        progress("attacking", min(start + _BLOCK, len(images)), len(images))
    return Robust(repr(attack), seed, Accuracy.of(correct, len(images)), blind)


def usual_attack(recipe: Recipe) -> PredictionAttack | None:
    """The worst of several attacks in the ball that the network was trained against (PGD in an L1 ball); None for a recipe without one."""
    ball = recipe.adversary
    if not isinstance(ball, PGDTraining):
        return None
    return PGD(ball.eps, "l1", steps=100) if ball.norm == "l1" else AttackEnsemble(ball.eps, ball.norm)


def _spread(total: int, count: int) -> torch.Tensor:
    """Positions (count,) spread evenly over 0..total-1, all of them where there are no more."""
    chosen = min(count, total)
    return torch.arange(chosen) * total // chosen


def _described(dataset: Dataset) -> dict[str, Any]:
    return {"spec": repr(dataset), "count": len(dataset), "sha256": dataset.content_hash()}


def _value(value: Any) -> Any:
    return repr(value) if is_dataclass(value) or isinstance(value, tuple) else value
