"""Which of the tried settings of a recipe is taken: a rule that looks at the tune images and at no ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.stats.intervals import share

__all__ = ["LEAST_AGREEMENT", "MOST_KEPT", "agreement_low", "choose_setting"]

LEAST_AGREEMENT = 0.97
"""Least agreement with the baseline, by the lower end of Wilson's interval."""
MOST_KEPT = 0.9
"""Share of the pixels kept above which a mask says nothing."""


def agreement_low(facts: Mapping[str, Any], images: int) -> float:
    """Lower end of the interval of a tuned model's agreement with the baseline on what its rounded masks leave of the tune images."""
    return share(round(facts["simplified"] * images), images).low


def choose_setting(tried: Sequence[Mapping[str, Any]], images: int) -> int:
    """Number of the setting taken: of those that agree often enough the one that keeps least, else the one that agrees most.

    Settings whose rounded masks keep more than nine tenths are passed over while there are others: where nothing is erased, all agrees.

    Args:
        tried: For each setting the facts of the round that it took: "simplified" (agreement) and "kept" (share of pixels).
        images: How many were tuned on.
    """
    low = [agreement_low(one, images) for one in tried]
    telling = [number for number, one in enumerate(tried) if one["kept"] <= MOST_KEPT] or [*range(len(tried))]
    sound = [number for number in telling if low[number] >= LEAST_AGREEMENT]
    if sound:
        return min(sound, key=lambda number: tried[number]["kept"])
    return max(telling, key=low.__getitem__)
