"""Who loses to whom in several goods at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ["dominated"]


def dominated(goods: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Names that lose, each with the first of the winners by the first good.

    One loses to another that is at least as good in everything and better in something, where as much is known of both.

    Args:
        goods: Values by name, higher being better; NaN where unknown.
    """
    found = {}
    for name, own in goods.items():
        better = [other for other, theirs in goods.items() if _dominates(theirs, own)]
        if better:
            found[name] = max(better, key=lambda other: goods[other][0])
    return found


def _dominates(other: Sequence[float], one: Sequence[float]) -> bool:
    known = [not math.isnan(value) for value in one]
    if known != [not math.isnan(value) for value in other]:
        return False
    pairs = [(a, b) for a, b, there in zip(other, one, known, strict=True) if there]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
