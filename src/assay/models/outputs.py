"""Taking the logits out of whatever a network returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from assay.errors import ModelError

__all__ = ["Select", "outputs_of", "selected"]

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


def outputs_of(out: Any, select: Select | None, count: int, network: str) -> Tensor:
    """What `selected` finds, checked to be one or more floating-point numbers for each of `count` images.

    Raises:
        ModelError: It is nothing of the kind; the message names `network`.
    """
    logits = selected(out, select)
    if not isinstance(logits, Tensor):
        kind = type(logits).__name__
        has = f" with keys {', '.join(map(str, logits))}" if isinstance(logits, Mapping) else ""
        raise ModelError(f"{network} returns a {kind}{has}, not logits; say where they are: Classifier(net, select=...)")
    flat = logits.ndim < 3 or math.prod(logits.shape[2:]) > 1  # Else somebody forgot to flatten.
    if not logits.ndim or logits.shape[0] != count or not flat or not logits.is_floating_point():
        raise ModelError(
            f"{network} returns shape {tuple(logits.shape)} for {count} images where logits ({count}, K), K >= 2, are needed; "
            "take them out with Classifier(net, select=...)"
        )
    return logits
