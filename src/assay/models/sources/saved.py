"""Networks that are saved whole: TorchScript files, and folders or names of Hugging Face's transformers."""

from __future__ import annotations

import importlib
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from assay.core.files import expanded
from assay.data.files.reading import Reading
from assay.errors import SpecError, WeightsError

__all__ = ["hugging_face", "is_hugging_face", "is_torchscript", "torchscript"]

_METHODS: dict[int, Any] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""PIL's numbers, as processors keep them."""


def is_torchscript(path: str) -> bool:
    """Whether a file is a TorchScript archive."""
    if not Path(path).is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


class _Scripted(nn.Module):
    """A TorchScript network inside a module of the usual kind, which can do what those cannot (`requires_grad_`)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> Any:
        """What the network gives."""
        return self.net(x)


def torchscript(path: str) -> nn.Module:
    """The network of a TorchScript archive, on the CPU.

    Raises:
        WeightsError: It cannot be read.
    """
    try:
        with warnings.catch_warnings():
            for kind in (DeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", kind)  # Of torch, whose successor reads no such files.
            net: nn.Module = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        raise WeightsError(f"{path} is not a readable TorchScript file: {next(iter(str(error).splitlines()), error)}") from error
    return _Scripted(net).requires_grad_(False)  # Copies of scripted weights that take gradients would be no leaves.


def is_hugging_face(place: str) -> bool:
    """Whether this is a folder that `save_pretrained` wrote."""
    return (expanded(place) / "config.json").is_file()


def hugging_face(place: str) -> tuple[nn.Module, dict[str, Any]]:
    """An image classifier of transformers with what is known of it: `mean`, `std`, `classes`, `reading`.

    Args:
        place: A folder that `save_pretrained` wrote, or a name on the hub.

    Raises:
        SpecError: transformers is not installed.
        WeightsError: There is no such image classifier.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise SpecError(f"{place} is a network of transformers, which is not installed: pip install transformers") from error
    try:
        net = transformers.AutoModelForImageClassification.from_pretrained(place)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(f"transformers has no image classifier {place}: {reason}") from error
    known: dict[str, Any] = {}
    names = getattr(net.config, "id2label", None)
    if names:
        known["classes"] = tuple(str(names[number]) for number in sorted(names))
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(place)
    except Exception:
        return net, known  # A folder without one: the normalisation is not known, which the user is told.
    if getattr(processor, "do_normalize", True):
        known |= {"mean": tuple(processor.image_mean), "std": tuple(processor.image_std)}
    return net, known | {"reading": _reading(processor)}


def _reading(processor: Any) -> Reading:
    """Resize and crop of a processor."""
    resize = _side(processor.size) if getattr(processor, "do_resize", True) else None
    crop = _side(processor.crop_size) if getattr(processor, "do_center_crop", False) else None
    return Reading(resize, crop, _METHODS.get(int(getattr(processor, "resample", 2) or 2), "bilinear"))


def _side(size: Any) -> int | tuple[int, int] | None:
    if isinstance(size, int):
        return size
    return int(size["shortest_edge"]) if "shortest_edge" in size else (int(size["height"]), int(size["width"]))
