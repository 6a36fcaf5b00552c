"""RISE: the score's mean over random masks that show each pixel."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from assay.core import noise
from assay.core.registry import check_at_least, register
from assay.errors import SpecError
from assay.explain.backgrounds import Background, Constant
from assay.explain.base import Cost, Explainer
from assay.models.classifier import Classifier
from assay.models.passes import mixed, scores, segment_sum

__all__ = ["Rise"]


@register
class Rise(Explainer):
    """How much the score rises where a pixel is shown by random smooth masks: (N, 1, H, W), forward passes only.

    Args:
        samples: Masks, and forward passes, per image; the paper takes 4000 to 8000.
        cells: Rows and columns of the coarse masks.
        keep: Probability that a cell is shown.
        background: What shows where the mask hides the image.
        centred: Take each image's mean score off first. The expectation then is the paper's less a constant, and the noise no longer
            grows with the scores' size; False is the paper's own mean.

    Source: Petsiuk, Das, Saenko 2018, equation 6 and section 3.2; deviations: `centred`, masks of its own for every image, and a
    score that is what the Classifier explains (the paper's is the probability).
    """

    samples: int = 1000
    cells: int = 7
    keep: float = 0.5
    background: Background = Constant(0.0)
    centred: bool = True
    category: ClassVar[str] = "surrogate"
    reference: ClassVar[str] = "Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018"
    pitfalls: ClassVar[str] = "As blurred as its masks; the noise falls with the root of the samples only."

    def __post_init__(self) -> None:
        check_at_least(self, 2, "samples")
        check_at_least(self, 1, "cells")
        if not 0 < self.keep < 1:
            raise SpecError(f"Rise: keep must be in (0, 1), not {self.keep!r}")

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(self.samples)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        samples, shape = self.samples, images.shape[1:]
        filled = self.background.fill(images, index, seed)
        rows = torch.arange(len(images), device=images.device).repeat_interleave(samples)
        sample = torch.arange(samples, device=images.device).repeat(len(images))

        def masks(start: int, stop: int) -> Tensor:
            here = rows[start:stop]
            return self.masks(seed, index[here], sample[start:stop], (shape[1], shape[2]))

        def make(start: int, stop: int) -> Tensor:
            here = rows[start:stop]
            return mixed(here, masks(start, stop), images, filled)

        found = scores(model, targets, rows, shape, make).view(-1, samples)
        weights = ((found - found.mean(1, keepdim=True)) if self.centred else found).flatten() / (samples * self.keep)
        maps = images.new_zeros(len(images), 1, *shape[1:])
        step = model.chunk_size(len(rows), shape, False)
        for start in range(0, len(rows), step):
            stop = min(start + step, len(rows))
            segment_sum(maps, rows[start:stop], weights[start:stop], masks(start, stop))
        return maps

    def masks(self, seed: int, index: Tensor, sample: Tensor, size: tuple[int, int]) -> Tensor:
        """Masks (P, 1, H, W) in [0, 1] for pairs of image `index` (P,) and `sample` (P,): a coarse grid, enlarged and shifted."""
        cells = self.cells
        drawn = noise.uniform(seed, "Rise", index, sample, (cells * cells + 2,))
        coarse = (drawn[:, :-2] < self.keep).float().view(-1, 1, cells, cells)
        height, width = (math.ceil(side / cells) for side in size)
        large = interpolate(coarse, ((cells + 1) * height, (cells + 1) * width), mode="bilinear", align_corners=False)[:, 0].clamp_max_(1.0)
        down, across = ((drawn[:, at] * reach).long()[:, None] for at, reach in ((-2, height), (-1, width)))
        lines = down + torch.arange(size[0], device=drawn.device)
        columns = across + torch.arange(size[1], device=drawn.device)
        pair = torch.arange(len(drawn), device=drawn.device)[:, None, None]
        return large[pair, lines[:, :, None], columns[:, None, :]][:, None]
