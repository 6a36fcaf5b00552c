"""Networks that are saved whole: TorchScript files, exported programs, and folders or names of Hugging Face's transformers."""

from __future__ import annotations

import importlib
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from assay.core.whole_files import expanded
from assay.data.files.reach import hub_answers
from assay.errors import SpecError, WeightsError
from assay.models.sources.preparation import of_processor

__all__ = ["exported", "hugging_face", "is_exported", "is_hugging_face", "is_torchscript", "own_preparation", "torchscript"]


def is_torchscript(path: str) -> bool:
    """Whether a file is a TorchScript archive."""
    return _holds(path, "/constants.pkl") and not is_exported(path)


def is_exported(path: str) -> bool:
    """Whether a file is what `torch.export.save` writes."""
    return _holds(path, "/archive_format")


def _holds(path: str, ending: str) -> bool:
    """Whether a file is an archive with a file of that ending."""
    if not Path(path).is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(ending) for name in archive.namelist())


def exported(path: str) -> nn.Module:
    """The network of an exported program, on the CPU.

    Raises:
        WeightsError: It cannot be read.
    """
    try:
        return torch.export.load(path).module()
    except Exception as error:
        raise WeightsError(f"{path} is not a readable exported program: {next(iter(str(error).splitlines()), error)}") from error


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
    transformers = _transformers(place)
    try:
        with _without_bar(transformers) if is_hugging_face(place) else nullcontext():
            net = transformers.AutoModelForImageClassification.from_pretrained(place, local_files_only=_is_here(place))
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(f"transformers has no image classifier {place}: {reason}") from error
    names = getattr(net.config, "id2label", None)
    classes = {"classes": tuple(str(names[number]) for number in sorted(names))} if names else {}
    return net, classes | own_preparation(place)


def own_preparation(place: str) -> dict[str, Any]:
    """What an image classifier's processor says of `mean`, `std` and `reading`; nothing where it has none.

    Raises:
        SpecError: transformers is not installed.
    """
    try:
        processor = _transformers(place).AutoImageProcessor.from_pretrained(place, local_files_only=_is_here(place))
    except SpecError:
        raise
    except Exception:
        return {}  # A folder without one: the normalisation is not known, which the user is told.
    found = of_processor(processor)
    known: dict[str, Any] = {"reading": found.reading}
    return known | ({} if found.mean is None else {"mean": found.mean, "std": found.std})


@contextmanager
def _without_bar(transformers: Any) -> Iterator[None]:
    """No progress bar of transformers, which a file at hand is not worth."""
    told = transformers.utils.logging
    shown = told.is_progress_bar_enabled()
    told.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            told.enable_progress_bar()


def _is_here(place: str) -> bool:
    """Whether to look on this machine alone: for a folder, or where the hub does not answer."""
    return is_hugging_face(place) or not hub_answers()


def _transformers(place: str) -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise SpecError(f'{place} is a network of transformers, which is not installed: pip install "assay[hf]"') from error
