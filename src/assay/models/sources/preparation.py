"""How pictures are prepared, as other libraries say it: transforms of torchvision, configurations of timm, processors of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from assay.data.files.reading import Interpolation, Reading, Side
from assay.errors import SpecError

__all__ = ["Preparation", "of_processor", "of_timm", "preparation", "read_side"]

_METHODS: dict[int, Any] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""PIL's numbers, as processors keep them."""
_NOTHING = ("ToTensor", "PILToTensor", "ToImage", "ToDtype", "ConvertImageDtype", "ToPureTensor", "Identity")
"""Steps of a transform that a Classifier makes anyway."""


@dataclass(frozen=True)
class Preparation:
    """What is done to a picture before the network sees it.

    Attributes:
        reading: Size, crop and channels; None where nothing is said.
        mean: Per-channel mean that is taken off, in pixel units.
        std: Per-channel standard deviation.
    """

    reading: Reading | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def preparation(given: Any) -> Preparation:
    """What is done to a picture, from any object that says so.

    Args:
        given: A `Reading`, a transform or preset of torchvision, a configuration of timm (a dict with `input_size`), or a processor
            of transformers.

    Raises:
        SpecError: It is none of them, or has a step that is no resize, crop, grey or normalisation.
    """
    if isinstance(given, Reading):
        return Preparation(given)
    if isinstance(given, Mapping) and "input_size" in given:
        return of_timm(given)
    if hasattr(given, "image_mean") and hasattr(given, "size"):
        return of_processor(given)
    if hasattr(given, "resize_size") and hasattr(given, "crop_size"):
        reading = Reading(read_side(given.resize_size), read_side(given.crop_size), _method(given.interpolation))
        return Preparation(reading, tuple(given.mean), tuple(given.std))
    steps = getattr(given, "transforms", None)
    if isinstance(steps, Sequence) or type(given).__module__.startswith("torchvision.transforms"):
        return _of_steps(list(steps) if isinstance(steps, Sequence) else [given])
    raise SpecError(
        f"cannot read how pictures are prepared from {type(given).__name__}: give a Reading, a transform of torchvision, a configuration "
        "of timm or a processor of transformers"
    )


def of_timm(told: Mapping[str, Any]) -> Preparation:
    """What a configuration of timm says."""
    height, width = told["input_size"][1:]
    method: Interpolation = told["interpolation"] if told.get("interpolation") in get_args(Interpolation) else "bilinear"
    channels: Literal[1, 3] = 1 if told["input_size"][0] == 1 else 3
    mean, std = (tuple(told[name]) if told.get(name) is not None else None for name in ("mean", "std"))
    if told.get("crop_mode") == "squash":
        return Preparation(Reading((height, width), interpolation=method, channels=channels), mean, std)
    return Preparation(Reading(int(min(height, width) / (told.get("crop_pct") or 0.875)), (height, width), method, channels), mean, std)


def of_processor(processor: Any) -> Preparation:
    """What a processor of transformers says."""
    resize = read_side(processor.size) if getattr(processor, "do_resize", True) else None
    crop = read_side(processor.crop_size) if getattr(processor, "do_center_crop", False) else None
    reading = Reading(resize, crop, _METHODS.get(int(getattr(processor, "resample", 2) or 2), "bilinear"))
    if not getattr(processor, "do_normalize", True):
        return Preparation(reading)
    return Preparation(reading, tuple(processor.image_mean), tuple(processor.image_std))


def read_side(size: Any) -> Side | None:
    """A side as a `Reading` has it: 224, [224], (224, 256), or the dictionary of a processor."""
    if size is None or isinstance(size, int):
        return size
    if hasattr(size, "get"):
        return int(size["shortest_edge"]) if size.get("shortest_edge") else (int(size["height"]), int(size["width"]))
    numbers = [int(one) for one in size]
    return None if not numbers else numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _of_steps(steps: list[Any]) -> Preparation:
    reading, mean, std = Reading(), None, None
    for step in steps:
        name = type(step).__name__
        if name == "Compose":
            raise SpecError("a transform within a transform is not read; give one Compose of steps")
        if name == "Resize":
            reading = replace(reading, resize=read_side(step.size), interpolation=_method(step.interpolation))
        elif name == "CenterCrop":
            wanted = read_side(step.size)
            # Given one number, torchvision keeps it twice.
            reading = replace(reading, crop=wanted[0] if isinstance(wanted, tuple) and wanted[0] == wanted[1] else wanted)
        elif name == "Grayscale":
            reading = replace(reading, channels=1 if step.num_output_channels == 1 else 3)
        elif name == "Normalize":
            mean, std = tuple(float(one) for one in step.mean), tuple(float(one) for one in step.std)
        elif name not in _NOTHING:
            raise SpecError(f"the transform's step {name} is none of Resize, CenterCrop, Grayscale, ToTensor and Normalize")
    return Preparation(None if reading == Reading() else reading, mean, std)


def _method(interpolation: Any) -> Interpolation:
    found = str(getattr(interpolation, "value", interpolation))
    for method in get_args(Interpolation):
        if found == method:
            kept: Interpolation = method
            return kept
    raise SpecError(f"interpolation {found} is none of {', '.join(get_args(Interpolation))}")
