"""Train a network on images held in memory; the same seed, machine and thread count give the same bits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from assay.core.environment import machine, packages
from assay.core.noise import derive
from assay.core.progress import Progress, silent
from assay.data import Dataset, stack
from assay.errors import DataError, ModelError
from assay.models.accuracy import Accuracy
from assay.models.architectures import Architecture
from assay.models.card import Card, DataUsed
from assay.models.classifier import Classifier
from assay.models.recipe import Recipe
from assay.models.seeded import seeded
from assay.models.statedict import round_to_half

__all__ = ["Epoch", "Trained", "accuracy", "channel_statistics", "train"]

_EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images came to."""

    number: int
    loss: float
    """Mean training loss, with label smoothing."""
    accuracy: float
    """Share of the augmented training images classified correctly while training, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network (eval mode, on the CPU), its card, and how training went."""

    net: nn.Module
    card: Card
    history: tuple[Epoch, ...]

    def classifier(self) -> Classifier:
        """The network with its normalisation and class names."""
        return Classifier(self.net, self.card.mean, self.card.std, classes=self.card.classes)


def train(
    architecture: Architecture,
    train_set: Dataset,
    test_set: Dataset,
    recipe: Recipe,
    seed: int = 0,
    progress: Progress = silent,
    *,
    device: torch.device | str | None = None,
    half: bool = False,
    command: str = "",
) -> Trained:
    """Train on `train_set`, then measure once on `test_set`, which plays no part in any choice.

    Args:
        architecture: What to train; it needs as many classes as the data has.
        train_set: Labelled images of one size; held in memory as bytes.
        test_set: Labelled images of the same classes.
        recipe: How to train.
        seed: Decides initial weights, order and augmentation.
        progress: Told about reading, training steps and testing.
        device: Where to train; None for a GPU when there is one, else the CPU.
        half: Round the weights to 16 bits before the test, for a checkpoint of half the size.
        command: The command line to note in the card.

    Raises:
        DataError: A data set has no labels, unreadable files, or other classes than the other one.
        ModelError: The architecture does not fit the data, the device cannot be used, or the loss is no longer finite.
    """
    _check_classes(architecture, train_set, test_set)
    place = _device(device)
    images, labels = stack(train_set, progress)
    test_images, test_labels = stack(test_set, progress)
    mean, std = channel_statistics(images)
    net = architecture.make(seed).to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    began = time.perf_counter()
    history = _fit(net, images.to(place), labels.to(place), (mean, std), recipe, seed, progress)
    seconds = time.perf_counter() - began
    net = net.to("cpu", memory_format=torch.contiguous_format).eval()
    if half:
        round_to_half(net)
    classifier = Classifier(net, mean, std, classes=train_set.classes, device=place)
    measured = accuracy(classifier, test_images, test_labels, progress)
    card = Card(
        architecture=repr(architecture),
        recipe=repr(recipe),
        seed=seed,
        classes=train_set.classes,
        mean=mean,
        std=std,
        size=(images.shape[2], images.shape[3]),
        train=_used(train_set),
        test=_used(test_set),
        test_accuracy=measured,
        stored="float16" if half else "float32",
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        seconds=round(seconds, 1),
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        packages=packages(),
        machine=machine(place),
    )
    return Trained(net, card, tuple(history))


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


def _fit(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    recipe: Recipe,
    seed: int,
    progress: Progress,
) -> list[Epoch]:
    """The training loop; images (N, C, H, W) uint8 and labels (N,) on the network's device."""
    device = images.device
    # Pixels of one image side by side: augmentation copies whole pixels, and batches come out channels last.
    pixels = images.permute(0, 2, 3, 1).contiguous()
    normalise = _normaliser(*statistics, device)
    optimiser = _optimiser(net, recipe)
    generator = torch.Generator().manual_seed(derive(seed, "order and augmentation"))
    size = min(recipe.batch_size, len(pixels))
    per_epoch = len(pixels) // size
    steps = recipe.epochs * per_epoch
    history = []
    net.train()
    with seeded(derive(seed, "layers"), device):
        for epoch in range(recipe.epochs):
            order = torch.randperm(len(pixels), generator=generator)
            loss_sum, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
            for number in range(per_epoch):
                chosen = order[number * size : (number + 1) * size].to(device)
                batch = pixels[chosen]
                for change in recipe.augment:
                    batch = change(batch, generator)
                step = epoch * per_epoch + number
                for group in optimiser.param_groups:
                    group["lr"] = recipe.rate(step, steps)
                loss, right = _step(net, optimiser, normalise(batch), labels[chosen], recipe)
                loss_sum += loss
                correct += right
                progress("training", step + 1, steps)
            history.append(_finished(epoch + 1, float(loss_sum) / per_epoch, int(correct) / (per_epoch * size), recipe))
    return history


def _step(net: nn.Module, optimiser: torch.optim.Optimizer, batch: Tensor, labels: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """One change of the weights; the loss before it and the number of images that were right."""
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        logits = net(batch)
    loss = cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.detach(), (logits.detach().argmax(1) == labels).sum()


def _finished(number: int, loss: float, right: float, recipe: Recipe) -> Epoch:
    if not math.isfinite(loss):
        raise ModelError(
            f"training diverged in epoch {number}: the loss is {loss}; lower the recipe's lr (now {recipe.lr:g}) or raise its warmup"
        )
    return Epoch(number, loss, right)


def _normaliser(mean: Iterable[float], std: Iterable[float], device: torch.device) -> Callable[[Tensor], Tensor]:
    """From bytes (n, H, W, C) to what the network sees, (n, C, H, W) float32, channels last."""
    centre, spread = torch.tensor(tuple(mean), device=device), torch.tensor(tuple(std), device=device)
    scale, shift = 1 / (255 * spread), -centre / spread
    return lambda batch: torch.addcmul(shift, batch.float(), scale).permute(0, 3, 1, 2)


def _optimiser(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def _device(wanted: torch.device | str | None) -> torch.device:
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(wanted)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"cannot train on the device {str(wanted)!r}: {str(error).splitlines()[0]}") from error
    return place


def _check_classes(architecture: Architecture, train_set: Dataset, test_set: Dataset) -> None:
    names = train_set.classes
    if not names:
        raise DataError(f"{train_set.name} has no labels: put the images into one folder per class")
    if test_set.classes != names:
        raise DataError(f"the test images have classes {', '.join(test_set.classes) or '(none)'}, the training images {', '.join(names)}")
    if architecture.classes != len(names):
        raise ModelError(f"{type(architecture).__name__} has classes={architecture.classes}, but {train_set.name} has {len(names)} classes")


def _used(dataset: Dataset) -> DataUsed:
    return DataUsed(dataset.name, dataset.split, len(dataset), dataset.content_hash())
