"""Every choice of the DiET study as one frozen, checked value that a TOML file can hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from assay.core.precision import AnyPrecision
from assay.papers.settings import Many, Preset, Strict

__all__ = ["DIET", "PAPER_RECIPE", "DatasetName", "DietSettings", "Variant"]

DatasetName = Literal["hard-digits", "hard-mnist", "chest-xray", "celeba"]
Share = Annotated[float, Field(gt=0, lt=1)]
Tried = Annotated[tuple[str, ...], Field(min_length=1)]

DIET, PAPER_RECIPE = "DiET", "DiET, authors' recipe"
"""What the tables call the two recipes."""


class Variant(Strict):
    """One form of the data set: what is trained on, tuned on and tested on, as data set specs.

    Attributes:
        train: Images of the baseline.
        tune: Images that DiET is tuned on; their labels and masks are used for the evaluation alone.
        test: Images of the evaluation.
        reversed: Test images whose spurious signal is on the other class, where there is one.
        recipe: Spec of the baseline's training, where it is not that of the settings.
    """

    train: str
    tune: str
    test: str
    reversed: str | None = None
    recipe: str | None = None


class DietSettings(Strict):
    """What the study does.

    Attributes:
        dataset: Whose study it is.
        preset: Where the settings come from.
        seed: Decides all randomness; tunings take it and those after it.
        seeds: Tunings of each recipe's chosen settings, each with a seed of its own.
        model: A model to start from instead of training one: whatever `--model` takes.
        weights: Its weights.
        pretrained: Whether it has its published weights.
        architecture: Spec of the baseline's architecture.
        recipe: Spec of its training.
        variants: The forms of the data, by name.
        methods: For each recipe, by the name that the tables use, the specs that are tried; the verdict is about the first recipe.
        explainers: Specs of what explains the baseline.
        backgrounds: Specs of the backgrounds that erasure is tried with.
        keep: Shares of the pixels that pixel perturbation keeps.
        tune_images: Images that DiET is tuned on, chosen by the seed; all where there are fewer than a preset's.
        scored_images: Test images whose maps are made and scored, likewise.
        counted_images: Test images whose classes are compared, likewise.
        manipulation: Spec of how the baseline is trained to mislead, to see which maps follow it; none where None.
        gallery: Images drawn in the figures.
        precision: What maps are made in, "auto" for the faster one.
    """

    dataset: DatasetName
    preset: Preset
    seed: int = 0
    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    model: str | None = None
    weights: str | None = None
    pretrained: bool = False
    architecture: str
    recipe: str
    variants: Annotated[dict[str, Variant], Field(min_length=1)]
    methods: Annotated[dict[str, Tried], Field(min_length=1)]
    explainers: Tried
    backgrounds: Tried
    keep: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.1, 0.05, 0.02, 0.01)
    tune_images: Many
    scored_images: Annotated[int, Field(ge=2)]
    counted_images: Many
    manipulation: str | None = None
    gallery: Many = 6
    precision: AnyPrecision = "auto"
