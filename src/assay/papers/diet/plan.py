"""What the DiET study is to do on one form of a data set: its settings as objects, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from assay.core.registry import build
from assay.data import Dataset
from assay.errors import DataError, SpecError
from assay.explain.backgrounds import Background
from assay.explain.base import Explainer
from assay.explain.random import RandomMap
from assay.models.nets.architecture import Architecture
from assay.models.training.recipe import Recipe
from assay.papers.diet.data import chosen
from assay.papers.diet.keep import slug
from assay.papers.diet.networks import Baseline, given
from assay.papers.diet.outcome import BASELINE
from assay.papers.diet.settings import DietSettings
from assay.tune.amortised import MaskTraining
from assay.tune.diet import DiET

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """The settings of one form of the data.

    Attributes:
        settings: The study's settings.
        variant: Name of the form.
        device: Where it is done.
    """

    settings: DietSettings
    variant: str
    device: torch.device

    @cached_property
    def data(self) -> dict[str, Dataset]:
        """The data sets by part: "train", "tune", "test", and "reversed" where there is one."""
        form = self.settings.variants[self.variant]
        specs = {"train": form.train, "tune": form.tune, "test": form.test, "reversed": form.reversed}
        return {part: build(spec, Dataset) for part, spec in specs.items() if spec is not None}

    @cached_property
    def chosen(self) -> dict[str, list[int]]:
        """Numbers of the images that DiET is tuned on, and of the test images whose maps are scored."""
        settings = self.settings
        counts = {"tune": settings.tune_images, "test": settings.scored_images}
        return {part: chosen(self.data[part], count, settings.seed) for part, count in counts.items()}

    @cached_property
    def methods(self) -> dict[str, DiET]:
        """The recipes by name."""
        return {name: build(spec, DiET) for name, spec in self.settings.methods.items()}

    @cached_property
    def explainers(self) -> tuple[Explainer, ...]:
        """What is compared with DiET's masks, a random map last."""
        built = [build(spec, Explainer) for spec in self.settings.explainers]
        if len(set(built)) < len(built):
            raise SpecError(f"an explainer is given twice in {', '.join(self.settings.explainers)}; give each once")
        return (*(one for one in built if one != RandomMap()), RandomMap())

    @cached_property
    def mask_network(self) -> MaskTraining | None:
        """How the network that predicts masks is trained, where there is to be one."""
        return None if self.settings.mask_network is None else build(self.settings.mask_network, MaskTraining)

    @cached_property
    def backgrounds(self) -> tuple[Background, ...]:
        """What erased pixels are replaced by in the trial of backgrounds."""
        return tuple(build(spec, Background) for spec in self.settings.backgrounds)

    @cached_property
    def training(self) -> tuple[Architecture, Recipe]:
        """The baseline's architecture and recipe."""
        return build(self.settings.architecture, Architecture), build(self.settings.recipe, Recipe)

    @cached_property
    def given(self) -> Baseline | None:
        """The baseline, where it is not trained here."""
        return None if self.settings.model is None else given(self.settings.model, self.settings.seed, self.device)

    def check(self) -> None:
        """Raise, before any work, where the settings cannot be carried out.

        Raises:
            AssayError: A spec is wrong, data are missing, or the model has other classes than the data.
        """
        classes = {part: one.classes for part, one in self.data.items()}
        known = classes["test"]
        if not known:
            raise DataError(f"{self.data['test'].name} has no labels, which the study needs")
        for part, found in classes.items():
            if found != known:
                raise DataError(f"the {part} images have classes {', '.join(found) or '(none)'}, the test images {', '.join(known)}")
        slugs = [slug(name) for name in (BASELINE, *self.methods)]
        if "" in slugs or len(set(slugs)) < len(slugs):
            raise SpecError(f"methods need different names of letters and digits, other than {BASELINE}, not {', '.join(self.methods)}")
        _ = self.explainers, self.backgrounds, self.mask_network, self.chosen
        if self.given is not None:
            count = self.given.classifier("float32").count_classes(self.data["test"][0].image.shape)
            source = str(self.settings.model)
        else:
            count, source = self.training[0].classes, self.settings.architecture
        if count != len(known):
            raise DataError(f"{source} has {count} classes, but {self.data['test'].name} has {len(known)}; give a model of these classes")
