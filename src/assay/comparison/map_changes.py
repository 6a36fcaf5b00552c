"""Whether two models' maps of the same images differ by more than one model's own maps do by seed and by invisible noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from assay.attack.distances import Cosine
from assay.core import noise
from assay.core.progress import Progress, silent
from assay.core.registry import short
from assay.explain.base import Explainer
from assay.models.classifier import Classifier
from assay.stats.intervals import LEVEL, Moments
from assay.stats.tests import holm, holm_levels

__all__ = ["NOISE", "Changes", "map_changes"]

NOISE = 2 / 255
"""The noise that nobody sees: uniform, of at most two 8-bit steps in every pixel."""
_SCHEMA: dict[str, pl.DataType] = {
    "explainer": pl.String(),
    "images": pl.Int64(),
    "between": pl.Float64(),
    "seed": pl.Float64(),
    "noise": pl.Float64(),
    "excess": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "p": pl.Float64(),
    "changed": pl.Boolean(),
}


@dataclass(frozen=True, eq=False)
class Changes:
    """What became of the maps.

    Attributes:
        table: A row for each explainer: images, mean cosine distances (1 - cosine) between the models, between two seeds of the first and
            between the first with and without invisible noise; excess of the first over the larger of the others, image by image, with its
            interval, one-sided p after Holm, and whether the maps are shown to have changed by more.
        maps: For each explainer both models' maps (N, C, H, W).
    """

    table: pl.DataFrame
    maps: dict[str, tuple[Tensor, Tensor]]


def map_changes(
    first: Classifier,
    second: Classifier,
    explainers: Sequence[Explainer],
    images: Tensor,
    targets: Tensor,
    index: Tensor,
    seed: int,
    progress: Progress = silent,
) -> Changes:
    """Explain the same classes of the same images in both models, and the first again with another seed and with noise.

    Args:
        first: A model.
        second: Another, of the same classes.
        explainers: What explains them.
        images: (N, C, H, W).
        targets: (N,) classes.
        index: (N,) the images' global numbers.
        seed: Decides all randomness, together with `index`.
        progress: Told after each explainer.
    """
    apart, zeros = Cosine(), torch.zeros_like(index)
    noisy = (images + NOISE * (2 * noise.uniform(seed, "compare", index, zeros, tuple(images.shape[1:])) - 1)).clamp(0, 1)
    other = noise.derive(seed, "compare again")
    rows, moments, maps = [], [], {}
    for place, one in enumerate(explainers):
        own = one(first, images, targets, seed=seed, index=index)
        new = one(second, images, targets, seed=seed, index=index)
        again = one(first, images, targets, seed=other % 2**31, index=index)
        moved = one(first, noisy, targets, seed=seed, index=index)
        # Equal maps are a rounding error apart, to either side of zero.
        between, by_seed, by_noise = (apart(own, each).double().clamp(min=0).cpu().numpy() for each in (new, again, moved))
        excess = between - np.maximum(by_seed, by_noise)
        found = Moments.of(excess[:, None])
        known = np.isfinite(excess)
        means = [float(each[known].mean()) if known.any() else np.nan for each in (between, by_seed, by_noise)]
        rows.append({"explainer": short(one), "images": int(known.sum()), **dict(zip(("between", "seed", "noise"), means, strict=True))})
        moments.append(found)
        maps[short(one)] = (own.cpu(), new.cpu())
        progress("compare maps", place + 1, len(explainers))
    p = [float(one.above()[0]) for one in moments]
    for row, found, level, own_p in zip(rows, moments, holm_levels(p), holm(p), strict=True):
        low, high = found.interval(2 * float(level))
        row |= {"excess": float(found.mean[0]), "low": float(low[0]), "high": float(high[0]), "p": own_p}
        row["changed"] = None if np.isnan(own_p) else own_p < LEVEL
    return Changes(pl.DataFrame(rows, schema=_SCHEMA), maps)
