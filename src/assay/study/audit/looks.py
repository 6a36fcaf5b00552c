"""The model is looked at before its maps: one that guesses, says the same of every image or was never trained explains nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import torch
from torch import nn

from assay.core import noise
from assay.models.classifier import Classifier
from assay.models.heads import of_class
from assay.models.targets import Decision
from assay.report.page import Sentence
from assay.report.text import plural
from assay.stats.intervals import share

__all__ = ["Looks", "classes_table", "model_looks", "model_sentences", "random_weights"]

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
        head: What was explained is read by; a caller's own target is a "scalar".
        confidence: Mean of the largest probability; of findings, of that of the explained one, there or not.
        there: Images in which the explained finding is there.
        spread: Standard deviation of the logits over the images, as a share of their size.
        flat: Images on which each explainer's map does not vary at all.
    """

    images: int = 0
    classes: int = 0
    explained: dict[int, int] = field(default_factory=dict)
    predicted: dict[int, int] = field(default_factory=dict)
    head: str = "softmax"
    confidence: float = math.nan
    there: int = 0
    spread: float = math.nan
    flat: dict[str, int] = field(default_factory=dict)


def classes_table(decision: Decision, flat: dict[str, int]) -> dict[str, pl.DataFrame]:
    """Tables "classes" (sums over a block's images, a row per class) and "flat" (maps without variation, a row per explainer).

    Args:
        decision: What the model decides about the images; outputs that are not finite are left out.
        flat: Images on which each explainer's map does not vary.
    """
    head, outputs = decision.head, decision.outputs.cpu()
    fine = outputs.isfinite().all(1)
    known, own = outputs[fine].double(), decision.ids.cpu()[fine]
    width = known.shape[1]
    chances = head.transform(known, "probability")
    asked = of_class(chances, own)
    sure = torch.maximum(asked, 1 - asked) if head.sided else chances.amax(1)
    chosen = head.choose(known) if head.decides and not head.sided else own[:0]
    table = pl.DataFrame(
        {
            "class": range(width),
            "images": [len(known)] * width,
            "logit": known.sum(0).numpy(),
            "square": known.square().sum(0).numpy(),
            "predicted": torch.bincount(chosen, minlength=width).numpy(),
            "explained": torch.bincount(own, minlength=width).numpy(),
            "confidence": [float(sure.sum()) if head.decides else math.nan] * width,
            "there": [int((asked > 0.5).sum()) if head.sided else 0] * width,
            "head": [head.name] * width,
        }
    )
    return {"classes": table, "flat": pl.DataFrame({"explainer": list(flat), "images": list(flat.values())})}


def model_looks(classes: Iterable[pl.DataFrame], flat: Iterable[pl.DataFrame]) -> Looks:
    """What the blocks' tables come to."""
    found, sums, confidence = Looks(), np.zeros((0, 4)), 0.0
    for part in classes:
        own = part.select("logit", "square", "predicted", "explained").to_numpy().astype(float)
        sums = own if not len(sums) else sums + own
        found.images += int(part["images"][0])
        confidence += float(part["confidence"][0])
        found.there += int(part["there"][0])
        found.head = str(part["head"][0])
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
    found = [Sentence("note", one) for one in model.findings]
    sound = True
    if right is not None and labelled and looks.head != "scalar":
        one = share(right, labelled)
        told = f"{right} of {labelled} labelled images ({one.low:.0%} to {one.high:.0%})"
        if looks.head == "sigmoid":
            found.append(Sentence("note", f"The model's most probable finding is the labelled one on {told}."))
        elif one.low > 1 / looks.classes:
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
    chance = 0.5 if looks.head == "sigmoid" else 1 / max(looks.classes, 1)
    if looks.confidence < chance + _GUESS * (1 - chance):
        what = "is sure of the explained finding nowhere" if looks.head == "sigmoid" else "hardly prefers any class"
        text = f"Its largest probability is {looks.confidence:.3f} on average, where {chance:.3f} is a guess"
        found.append(Sentence("bad", f"The model {what}. {text}: no map of it is to be trusted."))
        sound = False
    if random_weights(model, seed):
        text = "The model looks untrained: its weights cannot be told from the same numbers in random order. No map of it is to be trusted."
        found.append(Sentence("bad", text))
        sound = False
    if len(looks.predicted) == 1 and looks.images > 1:
        found.append(Sentence("caution", f"The model predicts one class for all {plural(looks.images, 'image')}."))
    if looks.head == "sigmoid" and looks.images > 1 and looks.there in (0, looks.images):
        found.append(Sentence("caution", f"The explained finding is {'there' if looks.there else 'absent'} on all {looks.images} images."))
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
