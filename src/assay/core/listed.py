"""Lists of objects or specs that a caller gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from assay.core.registry import build, short
from assay.errors import SpecError

__all__ = ["built"]

T = TypeVar("T")


def built(kind: str, given: Sequence[T | str], base: Callable[..., T]) -> list[T]:
    """Objects from objects or specs, all of the right kind and different.

    Args:
        kind: What they are called in messages.
        given: Objects or specs.
        base: What they must be; typed as in `assay.core.registry.build`.

    Raises:
        SpecError: One is of another kind, or given twice.
    """
    if isinstance(given, str):
        raise SpecError(f"give the {kind}s as a list, such as [{given!r}]")
    cls = cast("type[T]", base)
    made: list[T] = []
    for one in given:
        found = build(one, base) if isinstance(one, str) else one
        if not isinstance(found, cls):
            raise SpecError(f"{kind}s must be {cls.__name__} objects or specs, not {found!r}")
        if found in made or short(found) in map(short, made):
            raise SpecError(f"the {kind} {short(found)} is given twice; give each once")
        made.append(found)
    return made
