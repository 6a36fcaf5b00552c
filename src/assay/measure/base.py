"""What every measure is: a frozen object that scores maps of the same images, several at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor

from assay.core.inputs import check_maps, check_masks
from assay.core.order import larger
from assay.core.surroundings import undisturbed
from assay.errors import SpecError
from assay.explain.base import Explainer, check_case, check_explains
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.models.targets import Targets

__all__ = ["Measure", "Order", "orders", "pixel_values", "unranked", "with_masks"]

Order = Literal["signed", "magnitude"]


class Measure(ABC):
    """Base of all measures: `measure(model, images, maps)` gives one score per image.

    A subclass is decorated with `register`, states the facts below and writes `evaluate`.
    """

    category: ClassVar[str]
    """What it asks: "faithfulness", "robustness", "localisation" or "sanity"."""
    higher_is_better: ClassVar[bool]
    needs: ClassVar[frozenset[str]] = frozenset()
    """What it takes beside the maps: "explainer", "truth", "distractor"."""
    reference: ClassVar[str]
    """The paper that defines it."""
    pitfalls: ClassVar[str] = ""
    """What its scores are known to reward or to miss, in a sentence."""
    takes: ClassVar[str] = ""
    """Passes of the model, in words, beside the one of each clean image that all measures share."""
    meaning: ClassVar[str]
    """What a score says, in one plain sentence."""

    @property
    def statistic(self) -> str:
        """What is measured, whatever its parameters, in a word or two; a column of tables, that no name need be taken apart."""
        return type(self).__name__

    @final
    @undisturbed()
    def __call__(
        self,
        model: Classifier,
        images: Any,
        maps: Tensor,
        targets: Targets | None = None,
        *,
        seed: int = 0,
        index: Tensor | None = None,
        explainer: Explainer | None = None,
        truth: Tensor | None = None,
        distractor: Tensor | None = None,
    ) -> Tensor:
        """Score the maps of one explainer.

        Args:
            model: The model that was explained.
            images: (N, C, H, W), pixels in [0, 1]; or what `assay.data.as_batch` takes.
            maps: (N, C, H, W) or (N, 1, H, W).
            targets: (N,) class ids, or what else is explained (`Targets`); None for the predicted classes.
            seed: Decides all randomness, together with `index`.
            index: (N,) the images' global numbers; 0..N-1 when None.
            explainer: What made the maps, for measures that need it.
            truth: (N, 1, H, W) masks of the evidence, for measures that need them.
            distractor: (N, 1, H, W) masks of what must not matter, likewise.

        Returns:
            Scores, float32 (N,), on the images' device; NaN where the measure is not defined for an image.

        Raises:
            AssayError: A wrong input, named in the message, or something that the measure needs is missing.
        """
        case = with_masks(check_case(model, images, targets, seed, index), truth, distractor)
        return self.compare(case, [maps], [explainer])[0].to(images.device if isinstance(images, Tensor) else None)

    @final
    @undisturbed()
    def compare(self, case: Case, maps: Sequence[Tensor], explainers: Sequence[Explainer | None]) -> Tensor:
        """Scores (E, N) of E explainers' maps of the same images; passes that no map changes are shared.

        Raises:
            AssayError: A map does not fit, or something that the measure needs is missing.
        """
        if "explainer" in self.needs and any(explainer is None for explainer in explainers):
            raise SpecError(f"{type(self).__name__} explains perturbed images too: give it the explainer=")
        if "explainer" in self.needs:
            for explainer in explainers:
                check_explains(explainer, type(self).__name__)
        if "truth" in self.needs and case.truth is None:
            raise SpecError(f"{type(self).__name__} compares maps with known evidence: give it the masks as truth=")
        if "distractor" in self.needs and case.distractor is None:
            raise SpecError(f"{type(self).__name__} looks at what must not matter: give it the masks as distractor=")
        checked = [check_maps(one, case.images) for one in maps]
        return self.evaluate(case, checked, [explainer for explainer in explainers if explainer is not None])

    @abstractmethod
    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """Scores (E, N) of checked maps."""


def with_masks(case: Case, truth: Tensor | None, distractor: Tensor | None) -> Case:
    """The case with masks (N, 1, H, W) of what is known, checked.

    Raises:
        ShapeError: One does not fit the images.
    """
    evidence = None if truth is None else check_masks(truth, case.images, "truth")
    return replace(case, truth=evidence, distractor=None if distractor is None else check_masks(distractor, case.images, "distractor"))


def pixel_values(maps: Tensor, order: Order) -> Tensor:
    """One value per pixel (N, H, W): the channels' sum, or the sum of their magnitudes."""
    return (maps.abs() if order == "magnitude" else maps).sum(1)


def orders(maps: Sequence[Tensor], order: Order) -> tuple[Tensor, Tensor]:
    """How each of E maps of N images ranks their pixels.

    Returns:
        How many pixels have a larger value than each (N, E, H * W), the same for equal values; and (E, N) NaN for a map whose
        pixels are all equal, which ranks nothing and has no score, else 0.
    """
    values = torch.stack([pixel_values(one, order).flatten(1) for one in maps], 1)
    return larger(values), unranked(values).T


def unranked(values: Tensor) -> Tensor:
    """NaN for rows of (..., P) without variation, else 0; to be added to a score."""
    low, high = values.aminmax(dim=-1)
    return torch.where(low < high, 0.0, torch.nan)


def pairs_of(count: int, each: int, device: torch.device) -> Tensor:
    """(count * each,) the image of each pair, every image `each` times in a row."""
    return torch.arange(count, device=device).repeat_interleave(each)
