"""The model is looked at before its maps: one that guesses, says the same of every image or was never trained explains nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from assay.core import noise
from assay.models.classifier import Classifier
from assay.report.page import Sentence
from assay.report.text import plural
from assay.stats.intervals import share

__all__ = ["Looks", "classes_table", "looked", "model_sentences", "random_weights"]

_GUESS = 0.05
"""Confidence above chance, as a share of what is possible, below which an output is a guess."""
_SAME = 1e-4
_SIDES, _ROWS, _COLUMNS = 8, 128, 512
_TWINS, _APART = 5, 15.0
"""Networks of the package are 90 to 280 standard deviations apart from random order, networks at their beginning less than 6."""


@dataclass
class Looks:
    """What a model's outputs on all images come to.

    Attributes:
        images: Images with finite outputs.
        classes: How many classes the model has.
        explained: How many images were explained for each class.
        confidence: Mean of the largest probability.
        spread: Standard deviation of the logits over the images, as a share of their size.
        probabilities: Whether every output is itself a distribution over the classes.
        flat: Images on which each explainer's map does not vary at all.
    """

    images: int = 0
    classes: int = 0
    explained: dict[int, int] = field(default_factory=dict)
    predicted: dict[int, int] = field(default_factory=dict)
    confidence: float = math.nan
    spread: float = math.nan
    probabilities: bool = False
    flat: dict[str, int] = field(default_factory=dict)


def classes_table(logits: Tensor, targets: Tensor, flat: dict[str, int]) -> dict[str, pl.DataFrame]:
    """Tables "classes" (sums over a block's images, a row per class) and "flat" (maps without variation, a row per explainer).

    Args:
        logits: (N, K); rows that are not finite are left out.
        targets: (N,) the classes explained.
        flat: Images on which each explainer's map does not vary.
    """
    fine = logits.flatten(1).isfinite().all(1)
    known, own = logits[fine].double(), targets[fine].cpu()
    width = logits.shape[1]
    top = known.softmax(1).amax(1).sum() if len(known) else torch.zeros(())
    whole = bool(((known >= 0).all(1) & ((known.sum(1) - 1).abs() < 1e-3)).all()) if len(known) else True
    table = pl.DataFrame(
        {
            "class": range(width),
            "images": [len(known)] * width,
            "logit": known.sum(0).numpy(),
            "square": known.square().sum(0).numpy(),
            "predicted": torch.bincount(known.argmax(1), minlength=width).numpy(),
            "explained": torch.bincount(own, minlength=width).numpy(),
            "confidence": [float(top)] * width,
            "probabilities": [whole] * width,
        }
    )
    return {"classes": table, "flat": pl.DataFrame({"explainer": list(flat), "images": list(flat.values())})}


def looked(classes: Iterable[pl.DataFrame], flat: Iterable[pl.DataFrame]) -> Looks:
    """What the blocks' tables come to."""
    found, sums, confidence = Looks(probabilities=True), np.zeros((0, 4)), 0.0
    for part in classes:
        own = part.select("logit", "square", "predicted", "explained").to_numpy().astype(float)
        sums = own if not len(sums) else sums + own
        found.images += int(part["images"][0])
        confidence += float(part["confidence"][0])
        found.probabilities &= bool(part["probabilities"][0])
    for part in flat:
        for name, many in part.rows():
            found.flat[name] = found.flat.get(name, 0) + many
    if not found.images:
        return found
    mean = sums[:, 0] / found.images
    variance = np.maximum(sums[:, 1] / found.images - mean**2, 0.0)
    size = np.sqrt((sums[:, 1] / found.images).mean())
    found.classes = len(sums)
    found.confidence = confidence / found.images
    found.spread = float(np.sqrt(variance.mean()) / size) if size else 0.0
    found.predicted = {at: int(many) for at, many in enumerate(sums[:, 2]) if many}
    found.explained = {at: int(many) for at, many in enumerate(sums[:, 3]) if many}
    return found


def model_sentences(model: Classifier, looks: Looks, right: int | None, labelled: int, seed: int) -> tuple[list[Sentence], bool]:
    """What must be known of the model before its maps, and whether maps of it may be trusted.

    Args:
        model: The model.
        looks: As `looked` makes it.
        right: Right predictions, None without labels.
        labelled: Images whose labels the model has a class for.
        seed: Decides the random weights that the model's are held against.
    """
    found: list[Sentence] = []
    sound = True
    if right is not None and labelled:
        one = share(right, labelled)
        told = f"{right} of {labelled} labelled images ({one.low:.0%} to {one.high:.0%})"
        if one.low > 1 / looks.classes:
            found.append(Sentence("note", f"The model is right on {told}."))
        else:
            found.append(
                Sentence(
                    "bad", f"The model is right on {told}, which is not shown to be more than guessing: no map of it is to be trusted."
                )
            )
            sound = False
    if looks.images > 1 and looks.spread <= _SAME:
        found.append(Sentence("bad", "The model's output is the same for every image: there is nothing to explain."))
        return found, False
    guess = (looks.confidence - 1 / looks.classes) / (1 - 1 / looks.classes) if looks.classes > 1 else 1.0
    if looks.probabilities:
        found.append(Sentence("note", "The model's outputs are probabilities already, and are taken as they are."))
    elif guess < _GUESS:
        text = f"Its largest probability is {looks.confidence:.3f} on average, where {1 / looks.classes:.3f} is a guess"
        found.append(Sentence("bad", f"The model hardly prefers any class. {text}: no map of it is to be trusted."))
        sound = False
    if random_weights(model, seed):
        text = "The model looks untrained: its weights cannot be told from the same numbers in random order. No map of it is to be trusted."
        found.append(Sentence("bad", text))
        sound = False
    if len(looks.predicted) == 1 and looks.images > 1:
        found.append(Sentence("caution", f"The model predicts one class for all {plural(looks.images, 'image')}."))
    flat = [f"{name} ({many} of {looks.images})" for name, many in looks.flat.items() if many]
    if flat:
        found.append(Sentence("caution", f"Maps without any variation, which say nothing: {', '.join(flat)}."))
    return found, sound


def random_weights(model: Classifier, seed: int) -> bool:
    """Whether no weight of a network of several layers is more than numbers in random order.

    Training leaves directions in weights: a matrix's largest singular value stands out from those of the same numbers in random order.
    Orthogonal and structured beginnings differ from random order too, and networks of fewer than two matrices are not judged; so True says
    that the network is untrained, and False nothing.

    Source: ours, after Martin, Mahoney, JMLR 2021 (outlying singular values of trained weights).
    """
    many = 0
    for place, parameter in enumerate(model.module.parameters() if isinstance(model.module, nn.Module) else ()):
        if parameter.ndim < 2 or not parameter.is_floating_point():
            continue
        matrix = parameter.detach().float().cpu().flatten(1)[:_ROWS, :_COLUMNS]
        if min(matrix.shape) < _SIDES or not bool(matrix.std() > 0):
            continue
        many += 1
        matrix = matrix - matrix.mean()
        samples = torch.arange(_TWINS)
        orders = noise.uniform(seed, "random weights", torch.full_like(samples, place), samples, (matrix.numel(),)).argsort(1)
        twins = torch.linalg.matrix_norm(matrix.flatten()[orders].view(_TWINS, *matrix.shape), 2)
        middle, spread = twins.mean(), twins.std()
        if (torch.linalg.matrix_norm(matrix, 2) - middle).abs() > _APART * torch.maximum(spread, 5e-3 * middle):
            return False
    return many > 1
