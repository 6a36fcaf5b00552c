"""Accuracy with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Accuracy"]


@dataclass(frozen=True)
class Accuracy:
    """How many of `count` images were classified correctly, and what that says of others like them."""

    correct: int
    count: int
    value: float
    """The share of correct answers, in [0, 1]."""
    low: float
    """Lower end of the share's 95% interval."""
    high: float
    """Upper end of it."""

    @classmethod
    def of(cls, correct: int, count: int) -> Accuracy:
        """The share with Wilson's 95% interval (Wilson, JASA 1927), for `count` of at least 1."""
        from assay.stats.intervals import share  # Which takes long to import; loading a network needs no interval.

        one = share(correct, count)
        return cls(correct, count, one.mean, one.low, one.high)

    def __str__(self) -> str:
        shares = f"{100 * self.value:.2f}% ({self.correct} of {self.count}"
        return f"{shares}, 95% interval {100 * self.low:.2f} to {100 * self.high:.2f})"
