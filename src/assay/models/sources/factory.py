"""A user's own network from `module:factory`."""

from __future__ import annotations

import importlib
import operator
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from assay.errors import ModelError, SpecError
from assay.models.classifier import Classifier

__all__ = ["from_factory"]


def from_factory(name: str) -> nn.Module | Classifier:
    """What `factory()` of `module:factory` returns; modules in the current directory are found too.

    Raises:
        SpecError: The text is not of that form.
        ModelError: The module cannot be imported, has no such factory, or it fails or returns no network.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise SpecError(f"write python:package.module:factory, not python:{name}")
    with _current_directory():
        made = _call(_find(module_name, attribute), name)
    if not isinstance(made, nn.Module | Classifier):
        raise ModelError(f"python:{name} returns {type(made).__name__}, not a torch.nn.Module or a Classifier")
    return made


def _find(module_name: str, attribute: str) -> Any:
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ModelError(f"cannot import {module_name}: {type(error).__name__}: {error}") from error
    try:
        return operator.attrgetter(attribute)(module)
    except AttributeError as error:
        raise ModelError(f"the module {module_name} has no {attribute}") from error


def _call(factory: Any, name: str) -> Any:
    if not callable(factory):
        raise ModelError(f"python:{name} is a {type(factory).__name__}, not something to call without arguments")
    try:
        return factory()
    except Exception as error:
        raise ModelError(f"python:{name} failed: {type(error).__name__}: {error}") from error


@contextmanager
def _current_directory() -> Iterator[None]:
    """Let the modules of the current directory be imported, as `python -m` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
