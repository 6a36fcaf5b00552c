"""Accuracy with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Accuracy"]

_Z95 = 1.959963984540054


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
        share = correct / count
        centre = share + _Z95**2 / (2 * count)
        half = _Z95 * math.sqrt(share * (1 - share) / count + (_Z95 / (2 * count)) ** 2)
        scale = 1 + _Z95**2 / count
        # At 0 and 1 rounding could leave the interval a hair outside [0, 1] or short of the share.
        low, high = max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
        return cls(correct, count, share, min(share, low), max(share, high))

    def __str__(self) -> str:
        shares = f"{100 * self.value:.2f}% ({self.correct} of {self.count}"
        return f"{shares}, 95% interval {100 * self.low:.2f} to {100 * self.high:.2f})"
