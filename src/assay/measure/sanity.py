"""Does a map change when the model's weights are random, or when another class is asked for?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from assay.attack.distances import Distance, Spearman
from assay.core import noise
from assay.core.registry import check_at_least, register, short
from assay.errors import SpecError, TargetError
from assay.explain.base import Explainer
from assay.explain.kernels import Gaussian, Kernel
from assay.explain.smooth import Smoothed
from assay.measure.base import Measure, pixel_values, unranked
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.models.randomised import layers, permuted, randomised

__all__ = ["EfficientParameterRandomisation", "ParameterRandomisation", "RandomTarget"]

_BINS = 100


@register
class ParameterRandomisation(Measure):
    """How like its map of the model an explainer's map of the model with random weights is, on average over the layers.

    Args:
        order: "cascading" makes layers random from the top down, each together with all above it; "independent" one at a time.
        distance: The similarity is 1 - this; `Spearman(signed=True)` or, by magnitude, `Spearman()`.
        stages: How many stages are run, spread evenly over the layers; None for one for each layer.
        samples: Noisy copies that the maps, with and without random weights, are averaged over (smooth MPRT); None for none.
        kernel: The noise of those copies.

    Source: Adebayo et al. 2018; smooth: Hedstrom et al. 2023. Deviations: weights are permuted within their tensors, not drawn
    anew; the score is the mean over stages; the smooth variant's noise has one size for all images.
    """

    order: Literal["cascading", "independent"] = "cascading"
    distance: Distance = Spearman(signed=True)
    stages: int | None = None
    samples: int | None = None
    kernel: Kernel = Gaussian(0.1)
    category: ClassVar[str] = "sanity"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"explainer"})
    reference: ClassVar[str] = "Adebayo et al.: Sanity Checks for Saliency Maps, NeurIPS 2018"
    pitfalls: ClassVar[str] = "Any two maps that follow the image correlate, so that zero is hardly reached."
    takes: ClassVar[str] = "the explainer's per stage and map, on random weights"
    meaning: ClassVar[str] = "Give the model random weights, layer by layer: a map of the model no longer looks the same."

    def __post_init__(self) -> None:
        check_at_least(self, 1, "stages", "samples")
        _check_similarity(self, self.distance)

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        flat = torch.stack([unranked(one.flatten(1)) for one in maps])
        if self.samples is not None:
            explainers = [Smoothed(explainer, self.kernel, self.samples) for explainer in explainers]
            maps = [_again(case, case.model, explainer) for explainer in explainers]
        found = [
            torch.stack([1 - self.distance(one, _again(case, twin, explainer)) for one, explainer in zip(maps, explainers, strict=True)])
            for twin in self._twins(case)
        ]
        return torch.stack(found).mean(0) + flat

    def _twins(self, case: Case) -> Iterator[Classifier]:
        """The model at each stage, one in memory at a time."""
        down = layers(case.model, case.images.shape[1:])
        count = len(down) if self.stages is None else min(self.stages, len(down))
        # The last stage, at which a cascade has reached the pixels, is always among them.
        for last in torch.linspace(len(down) - 1, 0, count).round().int().tolist()[::-1]:
            names = down[: last + 1] if self.order == "cascading" else down[last : last + 1]
            yield permuted(case.model, [name for layer in names for name in layer], case.seed)


@register
class EfficientParameterRandomisation(Measure):
    """The relative rise of a map's entropy when all of the model's weights are random: 0 or less is a map that does not depend on them.

    The entropy is that of a histogram of the pixels' signed values over 100 equal bins.

    Source: Hedstrom et al. 2023 (efficient MPRT). Deviation: weights are permuted within their tensors, not drawn anew.
    """

    category: ClassVar[str] = "sanity"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"explainer"})
    reference: ClassVar[str] = "Hedstrom, Weber, Lapuschkin, Hohne: Sanity Checks Revisited, 2023"
    pitfalls: ClassVar[str] = "Noise raises entropy as well."
    takes: ClassVar[str] = "the explainer's per map, on random weights"
    meaning: ClassVar[str] = "Give the model random weights: a map of the model becomes more disordered."

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        twin = randomised(case.model, "all", case.seed)
        found = []
        for one, explainer in zip(maps, explainers, strict=True):
            before, after = (_entropy(pixel_values(each, "signed").flatten(1)) for each in (one, _again(case, twin, explainer)))
            found.append(((after - before) / before.masked_fill(before == 0, torch.nan)).float())
        return torch.stack(found)


@register
class RandomTarget(Measure):
    """How like the map of the target is to the map of another class, drawn at random.

    Args:
        distance: The similarity is 1 - this.

    Source: Sixt, Granz, Landgraf 2020 (random logit test); deviation: rank correlation by default in place of SSIM.
    """

    distance: Distance = Spearman(signed=True)
    category: ClassVar[str] = "sanity"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"explainer"})
    reference: ClassVar[str] = "Sixt, Granz, Landgraf: When Explanations Lie, ICML 2020"
    pitfalls: ClassVar[str] = "Classes that look alike may rightly share their evidence."
    takes: ClassVar[str] = "the explainer's per map, for another class"
    meaning: ClassVar[str] = "Ask for another class: a map of the class's evidence changes."

    def __post_init__(self) -> None:
        _check_similarity(self, self.distance)

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`.

        Raises:
            TargetError: A target is no class, so that there is no other class to explain in its place.
        """
        if bool((case.targets < 0).any()):
            raise TargetError("RandomTarget explains another class in place of the target: give class ids as targets, or leave it out")
        drawn = noise.uniform(case.seed, "RandomTarget", case.index, torch.zeros_like(case.index), ())
        others = (drawn * (case.logits.shape[1] - 1)).long()
        others = others + (others >= case.targets)
        found = []
        for one, explainer in zip(maps, explainers, strict=True):
            moved = explainer.attribute(case.model, case.images, others, case.index, case.seed)
            found.append(1 - self.distance(one, moved) + unranked(one.flatten(1)))
        return torch.stack(found)


def _again(case: Case, model: Classifier, explainer: Explainer) -> Tensor:
    """The explainer's maps of the case's images, targets and noise held, of another model."""
    return explainer.attribute(model, case.images, case.targets, case.index, case.seed)


def _check_similarity(measure: Measure, distance: Distance) -> None:
    if not distance.bounded:
        raise SpecError(f"{type(measure).__name__}: 1 - {short(distance)} is no similarity; take Spearman, TopK, Cosine or SSIM")


def _entropy(values: Tensor) -> Tensor:
    """Entropy (N,) float64 of each row's histogram over equal bins from its smallest to its largest value; 0 without variation."""
    values = values.double()
    low, high = (end[:, None] for end in values.aminmax(dim=1))
    place = ((values - low) / (high - low).masked_fill(high == low, 1.0) * _BINS).long().clamp_max(_BINS - 1)
    share = values.new_zeros(len(values), _BINS).scatter_add_(1, place, torch.ones_like(values)) / values.shape[1]
    found: Tensor = torch.special.entr(share).sum(1)
    return found
