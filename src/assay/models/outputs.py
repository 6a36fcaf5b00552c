"""Taking the logits out of whatever a network returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from assay.errors import ModelError

__all__ = ["Select", "selected"]

Select = Callable[[Any], Tensor] | str | int


def selected(out: Any, select: Select | None) -> Any:
    """What `select` (see `Classifier`) takes out of a network's output; with None its `logits` where it has such a thing, else itself.

    Raises:
        ModelError: There is nothing at `select`.
    """
    if callable(select):
        return select(out)
    if select is None:
        if isinstance(out, Tensor):
            return out
        return out.get("logits", out) if isinstance(out, Mapping) else getattr(out, "logits", out)
    if isinstance(select, str) and not isinstance(out, Mapping):
        if hasattr(out, select) and not isinstance(out, Tensor):
            return getattr(out, select)
    elif not isinstance(out, Tensor):
        try:
            return out[select]
        except (TypeError, IndexError, KeyError):
            pass
    has = (
        f" with keys {', '.join(map(str, out))}" if isinstance(out, Mapping) else f" of {len(out)}" if isinstance(out, list | tuple) else ""
    )
    raise ModelError(f"select={select!r} matches nothing: the network returns a {type(out).__name__}{has}")
