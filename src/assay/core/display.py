"""How results show themselves in notebooks, and as tables of other libraries."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import ClassVar

from assay.errors import AssayError

__all__ = ["Shown", "needed_library"]


class Shown:
    """A result with a face: notebooks show its HTML, terminals its short `repr`.

    The face is named as text, since results stand before reports in the order of the package; it is imported when a notebook asks.
    """

    face: ClassVar[str]
    """Module and function that makes the HTML, such as "assay.report.faces:attack"."""

    def _repr_html_(self) -> str:
        home, _, name = self.face.partition(":")
        return str(getattr(import_module(home), name)(self))


def needed_library(name: str) -> ModuleType:
    """A library that only some need, such as pandas.

    Raises:
        AssayError: It is not installed; the message says how to get it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise AssayError(f"{name} is not installed; get it by pip install {name} ({error})") from error
