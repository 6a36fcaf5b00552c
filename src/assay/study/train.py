"""Training that survives a kill, and the robust accuracy of what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from assay.attack.predictions.ensemble import AttackEnsemble, withstood
from assay.attack.predictions.pgd import PGD
from assay.attack.predictions.pgd_training import PGDTraining
from assay.attack.predictions.prediction import PredictionAttack
from assay.core.environment import code, machine, packages
from assay.core.precision import AnyPrecision, settled
from assay.core.progress import Progress, silent
from assay.core.registry import build, field_values
from assay.data import Dataset, stack
from assay.errors import SpecError
from assay.models.accuracy import Accuracy
from assay.models.nets.architecture import Architecture
from assay.models.nets.defaults import default_architecture, default_recipe
from assay.models.nets.named import named_architecture
from assay.models.sources import checkpoint
from assay.models.sources.model_card import Robust
from assay.models.training.adversary import Adversary
from assay.models.training.recipe import Recipe
from assay.models.training.training import Trained, TrainingPlan, check_fit, pick_device, train
from assay.run.checkpoints import Checkpoints
from assay.run.folder import Run
from assay.run.settings_file import command_line
from assay.study.study import Report, StepwiseStudy

__all__ = ["ATTACKED_IMAGES", "ToTrain", "TrainStudy", "measured_robustness", "usual_attack"]

ATTACKED_IMAGES = 1000
"""How many test images are attacked where nothing else is asked for."""
_BLOCK = 512


@dataclass(frozen=True, eq=False)
class ToTrain:
    """What is trained on.

    Args:
        train_set: Labelled images.
        test_set: Images of the same classes.
        seed: Decides all randomness.
        device: Where; None for a GPU when there is one.
        start: Whose weights training begins with; None for random ones.
        out: Where the checkpoint goes, NAME.safetensors; None for the run folder.
        processes: How many train together.
        options: The command's options but the study's own, for the card.
    """

    train_set: Dataset
    test_set: Dataset
    seed: int = 0
    device: torch.device | str | None = None
    start: Trained | None = None
    out: Path | None = None
    processes: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the results beside the options."""
        return {
            "device": pick_device(self.device).type,
            "processes": self.processes,
            "training images": _described(self.train_set),
            "test images": _described(self.test_set),
        } | ({} if self.start is None else {"start, SHA-256": self.start.card.sha256})


@dataclass(frozen=True)
class TrainStudy(StepwiseStudy):
    """Train a classifier, measure it on the test images, and write a checkpoint with its card.

    With the same seed, machine, number of threads and of processes, the weights come out the same bit by bit. A run that
    was stopped goes on from its last epoch when the same command is given again; NAME.run keeps it until then.

    Attributes:
        architecture: resnet-, bottleneck-, vgg-, googlenet-, vit-, convmixer- or swin-small or -paper, or a spec such as ViT(depth=6);
            a small residual network by default.
        recipe: Such as Recipe(epochs=20, lr=0.1, augment=(Shift(4), Flip())).
        epochs: In place of the recipe's.
        precision: In place of the recipe's; auto is the faster one.
        adversarial: Train on attacked images, such as PGDTraining(eps=0.5, norm='l2', steps=1); in place of the recipe's.
        robust_accuracy: Attack that test images are put to; for adversarial training the worst of several by default (AttackEnsemble).
        attacked: How many test images are attacked, spread evenly; all where there are no more, 1000 by default.
        half: Keep the weights in 16 bits.
    """

    architecture: str | None = None
    recipe: Recipe | None = None
    epochs: int | None = None
    precision: AnyPrecision | None = None
    adversarial: Adversary | None = None
    robust_accuracy: PredictionAttack | None = None
    attacked: int | None = None
    half: bool = False

    command: ClassVar[str] = "train"

    @property
    def fields(self) -> dict[str, Any]:
        """See `Experiment.fields`; the recipe once more, so that a refusal names the field that differs."""
        way = self.recipe
        return super().fields | ({} if way is None else {"choices": {name: _value(value) for name, value in field_values(way).items()}})

    def settled(self, asked: ToTrain) -> TrainStudy:
        """See `Experiment.settled`."""
        classes, side = len(asked.train_set.classes), min(asked.train_set[0].image.shape[1:])
        shape: Architecture
        if self.architecture is None and asked.start is not None:
            shape = build(asked.start.card.architecture, Architecture)
        else:
            shape = named_architecture(self.architecture, classes) if self.architecture else default_architecture(classes, side)
        way = self.recipe or default_recipe(asked.train_set.name, side)
        way = replace(
            way,
            epochs=self.epochs or way.epochs,
            precision=settled(self.precision or way.precision, pick_device(asked.device)),
            adversary=self.adversarial or way.adversary,
        )
        attack = self.robust_accuracy or usual_attack(way)
        return TrainStudy(
            repr(shape), way, robust_accuracy=attack, attacked=None if attack is None else self.attacked or ATTACKED_IMAGES, half=self.half
        )

    @property
    def built(self) -> Architecture:
        """The architecture of a settled study."""
        made: Architecture = build(self.architecture or "", Architecture)
        return made

    def check(self, asked: ToTrain) -> None:
        """See `Experiment.check`.

        Raises:
            SpecError: A number is no number of epochs or images, or there is nothing to be attacked by.
            AssayError: Architecture, recipe and images do not fit each other.
        """
        for name, value in (("--epochs", self.epochs), ("--attacked", self.attacked)):
            if value is not None and value < 1:
                raise SpecError(f"{name} must be at least 1, not {value}")
        found = self.settled(asked)
        check_fit(found.built, asked.train_set, asked.test_set)
        if self.attacked is not None and found.robust_accuracy is None:
            raise SpecError("--attacked says how many of the test images are attacked, and nothing attacks them; give --robust-accuracy")

    def fit(self, asked: ToTrain, run: Run, progress: Progress) -> Trained:
        """The trained network with its card."""
        assert self.recipe is not None
        line = command_line(self.command, {**asked.options, **vars(self)}, asked.processes)
        plan = TrainingPlan(self.built, asked.train_set, asked.test_set, self.recipe, asked.seed, asked.start, self.half, line)
        trained = train(plan, progress, device=asked.device, ranks=run.ranks, states=Checkpoints(run, "training"))
        attack, attacked = self.robust_accuracy, self.attacked
        if attack is None or attacked is None:
            return trained
        place = pick_device(asked.device, run.ranks)
        robust = run.ranks.once(lambda: measured_robustness(trained, asked.test_set, attack, attacked, asked.seed, progress, device=place))
        return replace(trained, card=replace(trained.card, robust=robust))

    def conclude(self, asked: ToTrain, done: Trained) -> Report:
        """The checkpoint with its card, which holds all that the run's folder held but the optimiser's state."""
        files, card = checkpoint.content(self._out(asked), done.net, done.card)
        return replace(self._report(asked, Trained(done.net, card)), groups=(lambda: files,))

    def again(self, asked: ToTrain, folder: Path) -> Report:
        """See `StepwiseStudy.again`."""
        out = self._out(asked)
        return self._report(asked, Trained(*checkpoint.read_checkpoint(folder / out.name if (folder / out.name).exists() else out)))

    def _out(self, asked: ToTrain) -> Path:
        return asked.out or Path(f"network{checkpoint.SUFFIX}")

    def _report(self, asked: ToTrain, done: Trained) -> Report:
        """The report but for the files' content."""
        out, card = self._out(asked), done.card
        attacked = [] if card.robust is None else [f"under attack: {card.robust.accuracy}, {card.robust.attack}"]
        if card.robust is not None and card.robust.blind:
            attacked.append(f"{card.robust.blind} more stayed right, but had no gradient to climb, which says nothing")
        return Report(
            found=lambda: done,
            moved={} if asked.out is None else {path.name: path for path in (out, checkpoint.card_path(out))},
            said=(
                f"test accuracy: {card.test_accuracy}",
                *attacked,
                f"training time: {card.seconds:.0f} s, {len(card.history)} epochs, {card.parameters} parameters",
                f"card: {checkpoint.card_path(out)}",
            ),
            main=("weights", out.name),
        )

    def record(self, asked: ToTrain) -> dict[str, Any]:
        """The seven reproducibility answers; splits are used whole."""
        parts, adversary = {"training": asked.train_set, "test": asked.test_set}, None if self.recipe is None else self.recipe.adversary
        return {
            "algorithm": {repr(one): one.reference for one in (self.built, adversary) if one is not None},
            "code": code(),
            "data": {name: _described(one) for name, one in parts.items()},
            "splits": {name: f"0-{len(one) - 1}" for name, one in parts.items()},
            "machine": machine(pick_device(asked.device)),
            "packages": packages(),
            "setup": {"seed": asked.seed, **self.fields, **asked.facts},
        }


def measured_robustness(
    trained: Trained,
    test_set: Dataset,
    attack: PredictionAttack,
    attacked: int = ATTACKED_IMAGES,
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
