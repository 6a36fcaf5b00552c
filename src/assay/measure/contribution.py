"""Does the map say what each part of the image contributes, one part at a time?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from assay.core.order import cosine, mean_ranks
from assay.core.registry import check_at_least, register
from assay.explain.backgrounds import Background, Constant
from assay.explain.base import Explainer
from assay.explain.occlusion import losses
from assay.explain.superpixels.segments import Grid, Segments, segment_sums
from assay.measure.base import Measure, pixel_values
from assay.models.case import Case
from assay.models.classifier import Output

__all__ = ["Contributions", "MarginalContribution", "SingleDeletion", "contributions"]


@register
class SingleDeletion(Measure):
    """Rank correlation of the map's sums over cells with the score that is lost when one cell alone goes.

    NaN where the sums, or the losses, are all equal.

    Args:
        segments: The cells.
        background: What shows in the place of the cell that is gone.

    Source: Hesse, Schaub-Meyer, Roth 2024 (in-domain single deletion score). Deviation: the model is taken as it is, where the
    paper first tunes it on images with cells deleted.
    """

    segments: Segments = Grid(rows=4, columns=4)
    background: Background = Constant(0.0)
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = True
    reference: ClassVar[str] = "Hesse, Schaub-Meyer, Roth: Benchmarking the Attribution Quality of Vision Models, NeurIPS 2024"
    pitfalls: ClassVar[str] = "Evidence that stands twice is lost from no cell alone."
    takes: ClassVar[str] = "1 forward per cell of an image, however many maps"
    meaning: ClassVar[str] = "Delete one cell at a time: a faithful map ranks the cells as the score's losses do."

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        labels = self.segments.labels(case.images)
        filled = self.background.fill(case.images, case.index, case.seed)
        full = case.model.score(case.logits, case.targets)
        lost, own = losses(case.model, case.images, case.targets, labels, filled, full)
        sums = (segment_sums(pixel_values(one, "signed"), labels, lost.shape[1]) for one in maps)
        return torch.stack([_correlation(each, lost, own, ranked=True) for each in sums])


@dataclass(frozen=True, eq=False)
class Contributions:
    """Marginal contributions of the groups of some images.

    Attributes:
        slopes: p (N, groups), 0 for a group that is black already.
        own: Which groups count.
        labels: (N, H, W) the group of each pixel.
        sizes: (N, groups) how many pixels each has.
    """

    slopes: Tensor
    own: Tensor
    labels: Tensor
    sizes: Tensor

    def pooled(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W) as the means of their values over each group, (N, groups)."""
        return segment_sums(maps.mean(1), self.labels, self.slopes.shape[1]) / self.sizes


def contributions(case: Case, groups: int = 100, score: Literal["probability", "output"] = "probability") -> Contributions:
    """Marginal contributions of about so many groups; see `MarginalContribution`."""
    height, width = case.images.shape[2:]
    rows = min(height, max(1, round(math.sqrt(groups * height / width))))
    labels = Grid(rows, min(width, max(1, round(groups / rows)))).labels(case.images)
    output: Output | None = "probability" if score == "probability" else None
    full = case.model.score(case.logits, case.targets, output)
    lost, own = losses(case.model, case.images, case.targets, labels, torch.zeros_like(case.images), full, output)
    values = segment_sums(case.images.sum(1), labels, lost.shape[1])
    own = own & (values != 0)
    sizes = segment_sums(torch.ones_like(case.images[:, 0]), labels, lost.shape[1])
    return Contributions((lost / values).masked_fill(~own, 0.0), own, labels, sizes)


@register
class MarginalContribution(Measure):
    """Likeness of the map and the marginal contributions `p_i = (f(x) - f(x with group i black)) / x_i`, over groups of pixels.

    A group is a cell of a grid, all channels together, and counts as one coordinate: `x_i` is the sum of its values, so that p is a
    slope per unit of pixel, and the map there is the mean of its values in the group. Groups that are black already have no p and
    are left out.

    Args:
        groups: About how many groups, at most one per pixel.
        similarity: "inverse_l2" is `1 / |map - p|`, which depends on the map's unit (infinite where they are equal); "pearson" and
            "spearman" are correlations, NaN where map or p is the same for all groups.
        score: f: the class "probability", or "output" for what the model's explanations are of.

    Source: Tan and Tian 2023, definition 3.4 and equation 5, whose reference is black. Ours: how a group's p and map are scaled,
    which the paper leaves open.
    """

    groups: int = 100
    similarity: Literal["inverse_l2", "pearson", "spearman"] = "inverse_l2"
    score: Literal["probability", "output"] = "probability"
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = True
    reference: ClassVar[str] = "Tan, Tian: Robust Explanation for Free or At the Cost of Faithfulness, ICML 2023"
    pitfalls: ClassVar[str] = "Counts what groups do alone, not together."
    takes: ClassVar[str] = "1 forward per group of an image, however many maps"
    meaning: ClassVar[str] = "Blacken one group of pixels at a time: a faithful map says how much the score falls per unit of pixel."

    def __post_init__(self) -> None:
        check_at_least(self, 2, "groups")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        found = contributions(case, self.groups, self.score)
        return torch.stack([self._like(found.pooled(one), found.slopes, found.own) for one in maps])

    def _like(self, values: Tensor, slopes: Tensor, own: Tensor) -> Tensor:
        if self.similarity == "inverse_l2":
            far: Tensor = ((values - slopes) * own).norm(dim=1)
            return (1 / far).masked_fill(~own.any(1), torch.nan)
        return _correlation(values, slopes, own, self.similarity == "spearman")


def _correlation(one: Tensor, other: Tensor, own: Tensor, ranked: bool) -> Tensor:
    """Correlations (N,) of rows (N, n), of their ranks if asked for, over the columns that are their own (N, n); NaN without variation."""
    flat = torch.zeros(len(own), dtype=torch.bool, device=own.device)
    parts = []
    for values in (one, other):
        values = values.double()
        flat |= values.masked_fill(~own, torch.inf).amin(1) >= values.masked_fill(~own, -torch.inf).amax(1)
        # What is not its own comes last, and leaves the ranks of what is as they are.
        values = mean_ranks(values.masked_fill(~own, torch.inf)) if ranked else values
        mean = (values * own).sum(1, keepdim=True) / own.sum(1, keepdim=True)
        parts.append((values - mean) * own)
    return cosine(*parts).float().masked_fill(flat, torch.nan)
