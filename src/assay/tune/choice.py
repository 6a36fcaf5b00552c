"""Which round's masks and model are taken, by rules that need no ground truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from assay.core.registry import check_at_least, register
from assay.errors import SpecError

__all__ = ["Choice", "LastRound", "LastSound", "RoundK"]

_ROUNDING = 1e-9


class Choice(ABC):
    """Picks a round from what each came to."""

    @abstractmethod
    def pick(self, rounds: Sequence[Mapping[str, Any]]) -> int:
        """Number of the round, from 0; `rounds` hold the facts of `assay.tune.tuning.Round`."""

    def needed(self, rounds: int) -> int:
        """How many of the rounds have to be run for it."""
        return rounds


@register
class LastRound(Choice):
    """The last round, as the paper's algorithm ends."""

    def pick(self, rounds: Sequence[Mapping[str, Any]]) -> int:
        """See `Choice.pick`."""
        return len(rounds) - 1


@register
class RoundK(Choice):
    """One round, whatever it came to; those after it are not run.

    Args:
        k: Its number, from 0. The authors evaluate round 1 of rounds 0 to 4, for every data set.

    Source: the authors' public script, AI4LIFE-GROUP/DiET.
    """

    k: int = 1

    def __post_init__(self) -> None:
        check_at_least(self, 0, "k")

    def pick(self, rounds: Sequence[Mapping[str, Any]]) -> int:
        """See `Choice.pick`."""
        return self.k

    def needed(self, rounds: int) -> int:
        """See `Choice.needed`.

        Raises:
            SpecError: There are not so many rounds.
        """
        if self.k >= rounds:
            raise SpecError(f"RoundK(k={self.k}) is the round after the last of {rounds}; rounds count from 0")
        return self.k + 1


@register
class LastSound(Choice):
    """The last round that agrees with the given model about as often as the best rounds do, where nothing was tuned.

    Two agreements count: on simplified images under backgrounds that nothing was tuned with, and on the validation images where
    there are any. Each has to be within `drop` of its best over all rounds; where no round holds both, the one that comes closest.
    Rounds whose rounded masks keep more than `most` are passed over while there are others: where nothing is erased, all agrees.

    Args:
        drop: Share of images by which an agreement may be below its best.
        most: Share of the pixels kept above which a round says nothing.
    """

    drop: float = 0.01
    most: float = 0.9

    def __post_init__(self) -> None:
        check_at_least(self, 0, "drop", "most")

    def pick(self, rounds: Sequence[Mapping[str, Any]]) -> int:
        """See `Choice.pick`."""
        asked = [name for name in ("elsewhere", "validation") if name in rounds[0]]
        numbers = range(len(rounds))
        telling = [number for number in numbers if rounds[number]["kept"] <= self.most] or numbers
        best = {name: max(rounds[number][name] for number in telling) for name in asked}
        short = {number: max(best[name] - rounds[number][name] for name in asked) for number in telling}
        allowed = max(self.drop, min(short.values()))
        return max(number for number, lack in short.items() if lack <= allowed + _ROUNDING)
