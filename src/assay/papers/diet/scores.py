"""What the DiET study measures, one value per image: maps against model and truth, models on what masks leave of images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assay.explain.backgrounds import Background
from assay.explain.base import Explainer, check_case
from assay.measure.base import Measure, with_masks
from assay.measure.erasure import erasure_agreement
from assay.models.classifier import Classifier
from assay.papers.diet.data import Part
from assay.tune.predictions import probabilities

__all__ = ["Maps", "Values", "classes", "erasure_values", "map_values", "model_values", "shape_alone", "simplified_values"]

Values = dict[str, Tensor]
"""Per-image values (N,) by measure; NaN where a measure is not defined for an image."""
Explain = Callable[[Part, Tensor], Tensor]
"""Maps (n, C, H, W) or (n, 1, H, W) of a block of images and its predicted classes (n,)."""


@dataclass(frozen=True, eq=False)
class Maps:
    """The scores of one attribution's maps.

    Attributes:
        values: Per image.
        shown: (G, 1, H, W) the maps that are drawn, their channels added.
        seconds: Time of making the maps, per image.
    """

    values: Values
    shown: Tensor
    seconds: float


def model_values(found: Tensor, wanted: Tensor, labels: Tensor) -> Values:
    """Whether the classes found (N,) are the labels ("accuracy") and the classes wanted ("agreement")."""
    return {"accuracy": (found == labels).float(), "agreement": (found == wanted).float()}


def classes(model: Classifier, part: Part) -> Tensor:
    """The model's class (N,) of each image."""
    return probabilities(model, part.images).argmax(1).cpu()


def map_values(
    model: Classifier,
    part: Part,
    explain: Explain,
    measures: Mapping[str, Measure],
    explainer: Explainer,
    seed: int,
    shown: Sequence[int],
    tell: Callable[[int], None],
) -> Maps:
    """Make maps block after block and score them; keeping pixels is judged against the labels.

    Args:
        model: What is explained.
        part: The images.
        explain: Makes the maps.
        measures: What scores them, by the name of the value.
        explainer: Stands for the maps' maker where a measure asks for it.
        seed: Decides all randomness.
        shown: Positions of the maps to keep.
        tell: Told the number of images done.
    """
    values: dict[str, list[Tensor]] = {name: [] for name in measures}
    kept: dict[int, Tensor] = {}
    seconds, done = 0.0, 0
    for block in part.blocks():
        pixels = block.pixels.to(model.device)
        targets = model.predict(pixels)
        began = time.perf_counter()
        maps = explain(block, targets)
        seconds += time.perf_counter() - began
        case = with_masks(check_case(model, pixels, block.labels, seed, block.index), block.truth, block.distractor)
        for name, measure in measures.items():
            values[name].append(measure.compare(case, [maps], [explainer])[0].cpu())
        kept |= {at: maps[at - done].sum(0, keepdim=True).cpu() for at in shown if done <= at < done + len(block)}
        done += len(block)
        tell(done)
    return Maps({name: torch.cat(parts) for name, parts in values.items()}, torch.stack([kept[at] for at in shown]), seconds / len(part))


def simplified_values(
    wanted: Tensor, model: Classifier, part: Part, masks: Mapping[str, Tensor], background: Background, seed: int
) -> Values:
    """The model on what masks leave of the images, against the baseline's classes of the images and the labels.

    Args:
        wanted: (N,) classes of f_b on the images.
        model: f_v.
        part: The images.
        masks: (N, 1, H, W) by kind.
        background: What erased pixels are replaced by; one draw per image.
        seed: Decides the draws.
    """
    found: Values = {}
    for kind, one in masks.items():
        for name, targets in (("agreement", wanted), ("accuracy", part.labels)):
            (left,) = erasure_agreement(model, part.pixels, one, [background], targets, seed=seed, index=part.index)
            found[f"{name}, {kind} masks"] = left
        found[f"kept by {kind} masks"] = one.mean((1, 2, 3)).cpu()
    return found


def erasure_values(
    wanted: Tensor, model: Classifier, part: Part, masks: Tensor, backgrounds: Mapping[str, Background], seed: int
) -> Values:
    """Whether the model's class for what the masks leave, before each background, is the baseline's class of the image.

    Args:
        wanted: (N,) classes of f_b on the images.
        model: What sees the simplified images.
        part: The images.
        masks: (N, 1, H, W).
        backgrounds: What erased pixels are replaced by, by name.
        seed: Decides the draws.
    """
    found = erasure_agreement(model, part.pixels, masks, list(backgrounds.values()), wanted, seed=seed, index=part.index)
    return dict(zip(backgrounds, found, strict=True))


def shape_alone(part: Part) -> Part:
    """The images with nothing in them but their own mean colour: what a mask then leaves is its shape."""
    pixels = part.images.float().mean((2, 3), keepdim=True).round().to(torch.uint8).expand_as(part.images)
    return replace(part, images=pixels)
