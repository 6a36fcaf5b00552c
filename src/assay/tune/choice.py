"""Which round's masks and model are taken, by rules that need no ground truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from assay.core.registry import check_at_least, register

__all__ = ["Choice", "LastRound", "LastSound"]


class Choice(ABC):
    """Picks a round from what each came to."""

    @abstractmethod
    def pick(self, rounds: Sequence[Mapping[str, Any]]) -> int:
        """Number of the round, from 0; `rounds` hold the facts of `assay.tune.tuning.Round`."""


@register
class LastRound(Choice):
    """The last round, as the paper's algorithm ends."""

    def pick(self, rounds: Sequence[Mapping[str, Any]]) -> int:
        """See `Choice.pick`."""
        return len(rounds) - 1


@register
class LastSound(Choice):
    """The last round whose agreement under other backgrounds than the tuning's is within `drop` of the best round's.

    Args:
        drop: Share of images by which the agreement may be below the best.
    """

    drop: float = 0.01

    def __post_init__(self) -> None:
        check_at_least(self, 0, "drop")

    def pick(self, rounds: Sequence[Mapping[str, Any]]) -> int:
        """See `Choice.pick`."""
        best = max(facts["elsewhere"] for facts in rounds)
        return max(number for number, facts in enumerate(rounds) if facts["elsewhere"] >= best - self.drop)
