"""Figure 3's ten networks of graded robustness: one network, fine-tuned for a short time against ten attacks of growing strength."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from assay.attack.predictions.pgd_training import PGDTraining
from assay.core.progress import Progress, silent
from assay.core.registry import build
from assay.data import Dataset, choose
from assay.data.base import Item
from assay.data.over import OverDataset
from assay.models.nets.architecture import Architecture
from assay.models.sources import checkpoint
from assay.models.training.recipe import Flip, Recipe, Shift
from assay.models.training.training import Trained, TrainingPlan, train
from assay.papers.robustness.networks import GRADED

__all__ = ["EPS", "Few", "Grading", "make_graded"]

EPS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12)
"""Radii of the Linf balls, in 255ths."""
_RECIPE = Recipe(optimiser="muon", lr=0.01, warmup=0.2, weight_decay=0.05, augment=(Shift(4), Flip()), precision="bfloat16")


@dataclass(frozen=True)
class Few(OverDataset):
    """Some images of a data set, drawn at random by the seed.

    Attributes:
        dataset: The images.
        count: How many; all where there are fewer.
        seed: Decides which.
    """

    dataset: Dataset
    count: int
    seed: int = 0

    @cached_property
    def numbers(self) -> list[int]:
        """Numbers of the images that were drawn."""
        return choose(self.dataset, len(self), self.seed)

    @property
    def split(self) -> str:
        """See `Dataset.split`."""
        return f"{len(self)} of {self.dataset.split}"

    def __len__(self) -> int:
        return min(self.count, len(self.dataset))

    def __getitem__(self, index: int) -> Item:
        return self.dataset[self.numbers[self.check_index(index)]]

    def hashed(self, progress: Progress) -> str:
        """That of the whole data set, of which `split` says how many."""
        return self.dataset.hashed(progress)


@dataclass(frozen=True)
class Grading:
    """How networks of graded robustness are made.

    Attributes:
        data: Specs of the training and the test images.
        start: Shipped name or checkpoint whose weights each begins with.
        images: How many training images take part, chosen at random.
        tested: On how many test images the cards' accuracies are measured.
        epochs: Passes over them.
        seed: Decides all randomness.
    """

    data: tuple[str, str] = ('CIFAR10(split="train")', 'CIFAR10(split="test")')
    start: str = "resnet-cifar10"
    images: int = 10_000
    tested: int = 1000
    epochs: int = 1
    seed: int = 0


def make_graded(folder: Path, grading: Grading, progress: Progress = silent, device: torch.device | str | None = None) -> tuple[Path, ...]:
    """Fine-tune a network against each radius of `EPS`, all else being equal, and keep each as a checkpoint with its card.

    Networks that are there already are left as they are, so that a killed command goes on with the next.

    Args:
        folder: Gets START-eps0.safetensors to START-eps12.safetensors.
        grading: How they are made.
        progress: Told about the work.
        device: Where to train.

    Raises:
        AssayError: The weights, the data or the folder cannot be used.
    """
    net, card = checkpoint.read_checkpoint(grading.start)
    made = []
    for eps in EPS:
        path = folder / f"{Path(grading.start).stem}{GRADED}{eps}{checkpoint.SUFFIX}"
        made.append(path)
        if path.exists():
            continue
        parts = zip(grading.data, (grading.images, grading.tested), strict=True)
        some, others = (Few(build(spec, Dataset), count, grading.seed) for spec, count in parts)
        adversary = PGDTraining(eps=eps / 255, norm="linf") if eps else None
        recipe = replace(_RECIPE, epochs=grading.epochs, adversary=adversary)

        def told(stage: str, done: int, total: int, eps: int = eps) -> None:
            progress(f"eps {eps}/255: {stage}", done, total)

        architecture = build(card.architecture, Architecture)
        found = train(TrainingPlan(architecture, some, others, recipe, grading.seed, Trained(net, card), half=True), told, device=device)
        checkpoint.save(path, found.net, found.card)
    return tuple(made)
