"""The evidence behind an audit's verdict as parts of a page: standings, agreement, and robustness against faithfulness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from assay.report.page import Part
from assay.report.text import number, percent

__all__ = ["Agreement", "Ends", "Standings", "TradeOff", "TradeOffs"]

Ends = tuple[float, float, float]
"""A mean with the ends of its 95% interval; NaN where there is none."""


@dataclass(frozen=True, eq=False)
class Standings(Part):
    """Where scores lie from a null (0) to a control (1).

    Attributes:
        measures: Each measure's standings by explainer.
        trusted: Explainers that are trusted, which stand out.
    """

    measures: Mapping[str, Mapping[str, Ends]]
    trusted: tuple[str, ...]

    template: ClassVar[str] = "standings.html.j2"


@dataclass(frozen=True, eq=False)
class Agreement(Part):
    """How much of their top tenth of the pixels each two explainers have in common, as shares in [0, 1].

    Attributes:
        explainers: In order.
        shares: By pair of explainers, the earlier one first.
        images: How many images the means are over.
    """

    explainers: tuple[str, ...]
    shares: Mapping[tuple[str, str], Ends]
    images: int

    template: ClassVar[str] = "agreement.html.j2"

    def cell(self, one: str, other: str) -> tuple[float, str, str]:
        """The share in [0, 1], its text, and a sentence on it."""
        mean, low, high = self.shares[(one, other) if (one, other) in self.shares else (other, one)]
        ends = "" if low != low else f" ({percent(max(0.0, low))} to {percent(min(1.0, high))})"
        return mean, percent(mean), f"{one} and {other}: {percent(mean)}{ends} of the top tenth in common"


@dataclass(frozen=True, eq=False)
class TradeOff:
    """One panel: two measures and a point for each explainer, (name, across, up); the last point may be the random map's.

    Attributes:
        across: The measure of robustness, and whether higher is better.
        up: The measure of faithfulness, and whether higher is better.
        points: (explainer, Ends of across, Ends of up).
    """

    across: tuple[str, bool]
    up: tuple[str, bool]
    points: Sequence[tuple[str, Ends, Ends]]


@dataclass(frozen=True, eq=False)
class TradeOffs(Part):
    """Robustness against faithfulness, a panel for each two measures, the upper right corner being the better one."""

    panels: tuple[TradeOff, ...]
    trusted: tuple[str, ...]

    template: ClassVar[str] = "trade_offs.html.j2"

    @staticmethod
    def told(name: str, across: Ends, up: Ends) -> str:
        """A point in words."""
        return f"{name}: {number(across[0])} across, {number(up[0])} up"
