"""Train a network on images held in memory; the same seed, machine, processes and thread count give the same bits."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import torch
from torch import Tensor, nn

from assay.core.environment import machine, packages
from assay.core.progress import Progress, silent
from assay.core.ranks import Ranks
from assay.data import Dataset, stack
from assay.errors import DataError, ModelError
from assay.models.accuracy import Accuracy
from assay.models.classifier import Classifier
from assay.models.nets.architecture import Architecture
from assay.models.sources.model_card import Card, DataUsed
from assay.models.sources.statedict import fit, round_to_half
from assay.models.training.fitting import Epoch, Examples, Fitting, State, batch_size, memory_format
from assay.models.training.recipe import Recipe

__all__ = ["Epoch", "States", "Trained", "TrainingPlan", "accuracy", "channel_statistics", "check_fit", "pick_device", "train"]

_EVALUATION_BATCH = 512


class States(Protocol):
    """Where a training run keeps the state after its last epoch."""

    def last(self) -> State | None:
        """What was kept last, or None."""

    def keep(self, state: State) -> None:
        """Keep `state` in place of the last one."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network (eval mode, on the CPU) and its card."""

    net: nn.Module
    card: Card

    @property
    def history(self) -> tuple[Epoch, ...]:
        """What every epoch came to."""
        return self.card.history

    def classifier(self, device: torch.device | str | None = None) -> Classifier:
        """The network with its normalisation and class names, on the CPU unless told otherwise."""
        return Classifier(self.net, self.card.mean, self.card.std, classes=self.card.classes, device=device)


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What is trained, on what, and how.

    Attributes:
        architecture: What to train; it needs as many classes as the data has.
        train_set: Labelled images of one size; held in memory as bytes, by every process.
        test_set: Labelled images of the same classes.
        recipe: How to train.
        seed: Decides initial weights, order and augmentation.
        start: Whose weights training begins with, instead of random ones (fine-tuning).
        half: Round the weights to 16 bits before the test, for a checkpoint of half the size.
        command: The command line to note in the card.
    """

    architecture: Architecture
    train_set: Dataset
    test_set: Dataset
    recipe: Recipe
    seed: int = 0
    start: Trained | None = None
    half: bool = False
    command: str = ""


def train(
    plan: TrainingPlan,
    progress: Progress = silent,
    *,
    device: torch.device | str | None = None,
    ranks: Ranks | None = None,
    states: States | None = None,
) -> Trained:
    """Train on the plan's training images, then measure once on its test images, which play no part in any choice.

    Args:
        plan: What is trained.
        progress: Told about reading, training steps and testing.
        device: Where to train; None for a GPU when there is one, else the CPU.
        ranks: The processes that train together, each calling this with the same arguments; each gets the result.
        states: Keeps the state after every epoch, and holds the one to go on from; asked on the first process only.

    Raises:
        DataError: A data set has no labels, unreadable files, or other classes than the other one.
        ModelError: The architecture does not fit the data, the device cannot be used, or the loss is no longer finite.
        SpecError: The batch cannot be split evenly over the processes.
        WeightsError: The weights to start from do not fit the architecture.
    """
    architecture, recipe, seed, start = plan.architecture, plan.recipe, plan.seed, plan.start
    ranks = ranks or Ranks()
    progress = progress if ranks.first else silent
    with ranks.together():
        check_fit(architecture, plan.train_set, plan.test_set)
        fresh, place = architecture.make(seed), pick_device(device, ranks)
        if start is not None:
            fit(fresh, start.net.state_dict(), f"the network to start from, {start.card.architecture},")
        images, labels = stack(plan.train_set, progress)
        mean, std = channel_statistics(images)
        batch_size(recipe, len(images), ranks)
    net = _on_device(fresh, place, ranks)
    fitting = Fitting(net, Examples(images.to(place), labels.to(place), mean, std), recipe, seed, ranks, progress)
    seconds = _fit(fitting, ranks, states)
    trained = architecture.make(seed).eval()
    trained.load_state_dict({name: tensor.cpu() for name, tensor in net.state_dict().items()})
    if plan.half:
        round_to_half(trained)
    classifier = Classifier(trained, mean, std, classes=plan.train_set.classes, device=place)
    measured = ranks.once(lambda: accuracy(classifier, *stack(plan.test_set, progress), progress))
    card = Card(
        architecture=repr(architecture),
        recipe=repr(replace(recipe, precision=fitting.precision)),
        seed=seed,
        classes=plan.train_set.classes,
        mean=mean,
        std=std,
        size=(images.shape[2], images.shape[3]),
        train=_used(plan.train_set),
        test=_used(plan.test_set),
        test_accuracy=measured,
        stored="float16" if plan.half else "float32",
        parameters=sum(parameter.numel() for parameter in trained.parameters()),
        seconds=round(seconds, 1),
        start=None if start is None else start.card.sha256,
        command=plan.command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        packages=packages(),
        machine=machine(place),
        history=fitting.history,
    )
    return Trained(trained, card)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Exact mean and standard deviation of each channel in units of [0, 1]; a constant channel gets deviation 1.

    Args:
        images: (N, C, H, W) uint8.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = float((share * levels).sum())
        deviation = math.sqrt(float((share * (levels - mean) ** 2).sum()))
        means.append(mean)
        deviations.append(deviation or 1.0)
    return tuple(means), tuple(deviations)


def accuracy(model: Classifier, images: Tensor, labels: Tensor, progress: Progress = silent) -> Accuracy:
    """How many images (N, C, H, W) uint8 the model classifies as `labels` (N,) say."""
    correct = 0
    for start in range(0, len(images), _EVALUATION_BATCH):
        part = slice(start, start + _EVALUATION_BATCH)
        correct += int((model.predict(images[part].float() / 255) == labels[part]).sum())
        progress("testing", min(start + _EVALUATION_BATCH, len(images)), len(images))
    return Accuracy.of(correct, len(images))


def _on_device(net: nn.Module, place: torch.device, ranks: Ranks) -> nn.Module:
    moved: nn.Module = net.to(place, memory_format=memory_format(net, place))  # type: ignore[call-overload]
    if ranks.world > 1 and place.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(moved)  # type: ignore[no-any-return]
    return moved


def _fit(fitting: Fitting, ranks: Ranks, states: States | None) -> float:
    """Train to the recipe's end, from the last state where there is one; the seconds that all of it took."""
    last = ranks.once(states.last) if states is not None else None
    before = 0.0
    if last is not None:
        fitting.restore(last)
        before = last[1]["seconds"]
    began = time.perf_counter()
    while len(fitting.history) < fitting.recipe.epochs:
        fitting.epoch()
        with ranks.together():
            if states is not None and ranks.first:
                tensors, values = fitting.state()
                states.keep((tensors, values | {"seconds": before + time.perf_counter() - began}))
    return before + time.perf_counter() - began


def pick_device(wanted: torch.device | str | None, ranks: Ranks | None = None) -> torch.device:
    """The device named, or a GPU when there is one; each of several processes takes its own GPU.

    Raises:
        ModelError: The device cannot be used.
    """
    if wanted is None:
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if ranks is not None and ranks.world > 1 and str(wanted) == "cuda":
        wanted = f"cuda:{ranks.local}"
    try:
        place = torch.device(wanted)
        torch.empty(1, device=place).tolist()  # Which the device "meta" cannot.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"cannot train on the device {str(wanted)!r}: {str(error).splitlines()[0]}") from error
    return place


def check_fit(architecture: Architecture, train_set: Dataset, test_set: Dataset) -> None:
    """Do nothing if the network can be trained and tested on the images.

    Raises:
        DataError: There are no labels, or the test images have others.
        ModelError: The architecture has another number of classes or channels, or is for images of another size.
    """
    names = train_set.classes
    if not names:
        raise DataError(f"{train_set.name} has no labels: put the images into one folder per class")
    if test_set.classes != names:
        raise DataError(f"the test images have classes {', '.join(test_set.classes) or '(none)'}, the training images {', '.join(names)}")
    if architecture.classes != len(names):
        raise ModelError(f"{type(architecture).__name__} has classes={architecture.classes}, but {train_set.name} has {len(names)} classes")
    architecture.check(train_set[0].image.shape)


def _used(dataset: Dataset) -> DataUsed:
    return DataUsed(dataset.name, dataset.split, len(dataset), dataset.content_hash())
