"""What a bench found: times and their ratios, by the clock and of the processors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from assay.bench.peers import PeerSettings
from assay.core.precision import Precision

__all__ = ["Bench", "Gain", "Ratio", "Seconds", "Spread", "Timing", "gains"]


class Spread(NamedTuple):
    """Minimum, median and maximum over the repeats."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of `values`."""
        kept = list(values)
        return cls(min(kept), statistics.median(kept), max(kept))


class Seconds(NamedTuple):
    """What one run took: by the clock, and of the processors' time, on which other work weighs less."""

    wall: float
    cpu: float


class Ratio(NamedTuple):
    """One time over another, repeat by repeat, by the clock and in processor time."""

    wall: Spread
    cpu: Spread

    @classmethod
    def of(cls, above: Sequence[Seconds], below: Sequence[Seconds]) -> Ratio:
        """The spread of `above` over `below`."""
        pairs = list(zip(above, below, strict=True))
        return cls(Spread.of(a.wall / b.wall for a, b in pairs), Spread.of(a.cpu / b.cpu for a, b in pairs))


@dataclass(frozen=True)
class Gain:
    """A peer's time over ours.

    Attributes:
        library: The peer.
        settings: Its own defaults, or its best arguments.
        precision: What the peer ran in.
        faster: Its time over ours.
    """

    library: str
    settings: PeerSettings
    precision: str
    faster: Ratio


@dataclass(frozen=True)
class Timing:
    """One explainer or measure.

    Attributes:
        name: Its class.
        kind: "explainer" or "measure".
        precision: What the network ran in.
        forward: Images that went forward.
        backward: Images that went backward.
        images_per_second: Images explained or scored, at the median wall time.
        to_limit: Its time over that of the passes alone at the best chunk size; None without passes.
        peak: Memory above what was taken before, in MiB.
        gains: Against each peer that ran.
    """

    name: str
    kind: str
    precision: str
    forward: int
    backward: int
    images_per_second: float
    to_limit: Ratio | None
    peak: float
    gains: tuple[Gain, ...]


@dataclass(frozen=True)
class Bench:
    """Rows of one network, the chunks at which it was fastest by itself (forward, forward and backward), and what was left out, why."""

    network: str
    pixels: tuple[int, int]
    count: int
    rows: tuple[Timing, ...]
    chunks: Mapping[Precision, tuple[int, int]]
    left_out: Mapping[str, str]


def gains(rows: Sequence[Timing], ours: str, settings: PeerSettings, theirs: str) -> tuple[float, str, float] | None:
    """Geometric mean over rows of a peer's processor time over ours, and the row where it is least; None where no peer ran.

    Args:
        rows: Of one network.
        ours: Our precision.
        settings: The peers'.
        theirs: The peers' precision.
    """
    found = [
        (gain.faster.cpu.median, row.name)
        for row in rows
        for gain in row.gains
        if row.precision == ours and (gain.settings, gain.precision) == (settings, theirs)
    ]
    if not found:
        return None
    least, name = min(found)
    return math.exp(statistics.fmean(math.log(value) for value, _ in found)), name, least
