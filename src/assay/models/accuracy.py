"""Accuracy with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Accuracy"]

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Accuracy:
    """How many of `count` images were classified correctly."""

    correct: int
    count: int

    @property
    def value(self) -> float:
        """The share of correct answers, in [0, 1]."""
        return self.correct / self.count

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share (Wilson, JASA 1927)."""
        share, n, z = self.value, self.count, _Z95
        centre = share + z * z / (2 * n)
        half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{100 * self.value:.2f} % ({self.correct} of {self.count}, 95 % interval {100 * low:.2f} to {100 * high:.2f})"
