"""Every choice of the DiET study as one frozen, checked value that a TOML file can hold."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assay.errors import SpecError

__all__ = ["Dataset", "DietSettings", "Preset", "Variant", "from_file", "merged"]

Dataset = Literal["hard-digits", "hard-mnist", "chest-xray", "celeba"]
Preset = Literal["small", "paper"]
Many = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Variant(_Strict):
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


class DietSettings(_Strict):
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
        precision: What evaluation runs in; accuracy and agreement on plain images are always taken in float32.
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
    precision: Literal["float32", "bfloat16"] = "bfloat16"


def from_file(path: Path) -> dict[str, Any]:
    """The settings that a study file holds; it may leave out what its preset says.

    Raises:
        SpecError: The file cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SpecError(f"cannot read the study file {path}: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"the study file {path} is no TOML: {error}") from error


def merged(preset: DietSettings, changes: dict[str, Any], source: str = "the study file") -> DietSettings:
    """The preset with some settings in place of its own.

    Args:
        preset: What is changed.
        changes: Settings by name.
        source: Where they come from, for the message.

    Raises:
        SpecError: A setting is unknown or out of range; the message names it.
    """
    try:
        # TOML has lists where settings have tuples, so the check goes by JSON, which has one kind of sequence.
        return DietSettings.model_validate_json(json.dumps(preset.model_dump() | changes, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise SpecError(f"{source} is wrong at {where}: {first['msg'].lower()}") from error
