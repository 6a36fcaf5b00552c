"""How strongly masks are pushed to be small, when a phase has converged, and how masks are rounded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from assay.core.registry import check_at_least, check_positive, register
from assay.errors import SpecError

__all__ = ["Carried", "Converged", "Epochs", "Falling", "Rounded", "Rounding", "Sparsity", "Stop"]


class Sparsity(ABC):
    """The weight of the masks' size in the loss, round by round."""

    @abstractmethod
    def weight(self, number: int, rounds: int) -> float:
        """Weight in round `number` of 0..rounds-1."""


@register
class Falling(Sparsity):
    """A straight line down: `start * (1 - fall * number / rounds)`.

    Args:
        start: Weight of the first round.
        fall: Share of it that is gone after the last round.

    Source: Bhalla, Srinivas, Lakkaraju 2023, with start 1 and fall 0.9.
    """

    start: float = 1.0
    fall: float = 0.9

    def __post_init__(self) -> None:
        check_at_least(self, 0, "start")
        if not 0 <= self.fall <= 1:
            raise SpecError(f"Falling: fall must be in [0, 1], not {self.fall!r}")

    def weight(self, number: int, rounds: int) -> float:
        """See `Sparsity.weight`."""
        return self.start * (1 - self.fall * number / rounds)


class Stop(ABC):
    """When a phase of epochs is over."""

    @abstractmethod
    def reached(self, losses: Sequence[float]) -> bool:
        """Whether the phase is over after epochs with these mean losses."""

    @property
    @abstractmethod
    def most(self) -> int | None:
        """No phase has more epochs than this; None where there is no such number."""


@register
class Epochs(Stop):
    """A fixed number of epochs.

    Args:
        count: How many.
    """

    count: int = 15

    def __post_init__(self) -> None:
        check_at_least(self, 1, "count")

    @property
    def most(self) -> int:
        """See `Stop.most`."""
        return self.count

    def reached(self, losses: Sequence[float]) -> bool:
        """See `Stop.reached`."""
        return len(losses) >= self.count


@register
class Converged(Stop):
    """The epoch's loss is close to that of two epochs before, or small.

    Args:
        low: Least ratio to the loss two epochs before.
        high: Largest ratio to it.
        below: A loss that is small enough whatever was before; None for none.
        most: Epochs after which a phase ends in any case; None for none, as in the authors' script.

    Source: Bhalla, Srinivas, Lakkaraju 2023: 0.995 to 1.005 for masks, 0.998 to 1.002 for those of new images; 0.97 to 1.005, or below
    0.025, for the model.
    """

    low: float = 0.995
    high: float = 1.005
    below: float | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        check_positive(self, "low", "high", "below")
        check_at_least(self, 1, "most")
        if self.low > self.high:
            raise SpecError(f"Converged: low must not be above high, not {self.low!r} and {self.high!r}")

    def reached(self, losses: Sequence[float]) -> bool:
        """See `Stop.reached`."""
        last = losses[-1]
        if len(losses) == self.most or (self.below is not None and last < self.below):
            return True
        return len(losses) > 2 and self.low * losses[-3] <= last <= self.high * losses[-3]


class Rounding(ABC):
    """How the masks of a round become the zeros and ones that the model is tuned with."""

    carried: bool
    """Whether the next round goes on from the masks as they were, not as rounded."""

    @abstractmethod
    def rounded(self, masks: Tensor, number: int, rounds: int) -> Tensor:
        """The masks, in [0, 1], as zeros and ones for round `number` of 0..rounds-1."""


@register
class Carried(Rounding):
    """Ones where the mask reaches a threshold; the masks themselves stay soft from round to round.

    Args:
        threshold: What a kept cell must reach.
    """

    threshold: float = 0.5
    carried = True

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise SpecError(f"Carried: threshold must be above 0 and at most 1, not {self.threshold!r}")

    def rounded(self, masks: Tensor, number: int, rounds: int) -> Tensor:
        """See `Rounding.rounded`."""
        return (masks >= self.threshold).to(masks.dtype)


@register
class Rounded(Rounding):
    """`round(mask + lift * (1 - number / rounds))`, from which the next round starts again.

    Args:
        lift: What is added in the first round, so that faint cells survive it.

    Source: Bhalla, Srinivas, Lakkaraju 2023, with lift 0.4.
    """

    lift: float = 0.4
    carried = False

    def __post_init__(self) -> None:
        if not 0 <= self.lift < 0.5:
            raise SpecError(f"Rounded: lift must be at least 0 and below 0.5, not {self.lift!r}")

    def rounded(self, masks: Tensor, number: int, rounds: int) -> Tensor:
        """See `Rounding.rounded`."""
        return (masks + self.lift * (1 - number / rounds)).round().clamp(0, 1)
