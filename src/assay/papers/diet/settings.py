"""Every choice of the DiET study as one frozen, checked value that a TOML file can hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from assay.core.precision import AnyPrecision
from assay.papers.settings import Many, Preset, Strict

__all__ = ["Dataset", "DietSettings", "Variant"]

Dataset = Literal["hard-digits", "hard-mnist", "chest-xray", "celeba"]
Share = Annotated[float, Field(gt=0, lt=1)]


class Variant(Strict):
    """One form of the data set: what is trained on, tuned on and tested on, as data set specs.

    Attributes:
        train: Images of the baseline.
        tune: Images that DiET is tuned on; their labels and masks are used for the evaluation alone.
        test: Images of the evaluation.
        reversed: Test images whose spurious signal is on the other class, where there is one.
    """

    train: str
    tune: str
    test: str
    reversed: str | None = None


class DietSettings(Strict):
    """What the study does.

    Attributes:
        dataset: Whose study it is.
        preset: Where the settings come from.
        seed: Decides all randomness.
        model: A model to start from instead of training one: whatever `--model` takes.
        architecture: Spec of the baseline's architecture.
        recipe: Spec of its training.
        variants: The forms of the data, by name.
        methods: Specs of DiET by the name that the tables use; the first is the one that the verdict is about.
        explainers: Specs of what explains the baseline and, beyond the paper, the tuned model.
        mask_network: Spec of the training of the network that predicts the first method's masks; None for no such network.
        backgrounds: Specs of the backgrounds that erasure is tried with.
        keep: Shares of the pixels that pixel perturbation keeps.
        tune_images: Images that DiET is tuned on, chosen by the seed; all where there are fewer.
        scored_images: Images of each part whose maps are made and scored, likewise.
        gallery: Images drawn in the figures.
        precision: What evaluation runs in, "auto" for the faster one; accuracy and agreement on plain images are always taken in float32.
    """

    dataset: Dataset
    preset: Preset
    seed: int = 0
    model: str | None = None
    architecture: str
    recipe: str
    variants: Annotated[dict[str, Variant], Field(min_length=1)]
    methods: Annotated[dict[str, str], Field(min_length=1)]
    explainers: Annotated[tuple[str, ...], Field(min_length=1)]
    mask_network: str | None = "MaskTraining()"
    backgrounds: Annotated[tuple[str, ...], Field(min_length=1)]
    keep: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.1, 0.05, 0.02, 0.01)
    tune_images: Many
    scored_images: Many
    gallery: Many = 6
    precision: AnyPrecision = "auto"
