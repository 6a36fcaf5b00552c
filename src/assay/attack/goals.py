"""What an attack on a map wants: a value to climb on, and an exact one to judge by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from assay.attack.distances import CentreShift, Cosine, Distance, TopK, centres, magnitude
from assay.core.registry import register
from assay.errors import DataError, ShapeError, SpecError

__all__ = ["Goal", "MapFile", "MaximiseDistance", "MoveCentre", "Pattern", "PushOutTopK", "ReachMap", "Rectangle"]


class Goal(ABC):
    """Base of all goals; maps are (N, C, H, W), signed, and both values are larger the better for the attacker."""

    @abstractmethod
    def climb(self, clean: Tensor, moved: Tensor) -> Tensor:
        """What the attack ascends (N,), differentiable in `moved`."""

    @abstractmethod
    def reached(self, clean: Tensor, moved: Tensor) -> Tensor:
        """What the attack has achieved (N,), exactly; 0 where the map is the clean one."""


@register
class MaximiseDistance(Goal):
    """Make a distance to the clean map as large as possible.

    Args:
        distance: Which distance.
    """

    distance: Distance = Cosine()

    def climb(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Goal.climb`."""
        return self.distance.smooth(clean, moved)

    def reached(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Goal.reached`."""
        return self.distance(clean, moved)


@register
class PushOutTopK(Goal):
    """Push the clean map's top pixels out of the top.

    Args:
        fraction: Share of the pixels that counts as top.

    Source: Ghorbani, Abid, Zou, AAAI 2019 (top-k attack).
    """

    fraction: float = 0.1

    def __post_init__(self) -> None:
        TopK(self.fraction)

    def climb(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Goal.climb`."""
        return TopK(self.fraction).smooth(clean, moved)

    def reached(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Goal.reached`."""
        return TopK(self.fraction)(clean, moved)


@register
class MoveCentre(Goal):
    """Move the map's centre of mass as far as possible, in pixels.

    Source: Ghorbani, Abid, Zou, AAAI 2019 (mass-centre attack).
    """

    def climb(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Goal.climb`: the squared shift, which has a slope everywhere but at the clean map."""
        return (centres(moved) - centres(clean)).square().sum(1)

    def reached(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Goal.reached`."""
        return CentreShift()(clean, moved)


class Pattern(ABC):
    """A map that an attacker wants to see, the same for every image."""

    @abstractmethod
    def draw(self, height: int, width: int) -> Tensor:
        """Magnitudes (H, W), float32.

        Raises:
            AssayError: There is no such map of that size.
        """


@register
class Rectangle(Pattern):
    """A box, its place and size as shares of the image; by default the top left quarter of it."""

    top: float = 0.0
    left: float = 0.0
    height: float = 0.5
    width: float = 0.5

    def __post_init__(self) -> None:
        inside = self.top >= 0 and self.left >= 0 and self.top + self.height <= 1 and self.left + self.width <= 1
        if not (inside and self.height > 0 and self.width > 0):
            raise SpecError(f"Rectangle: the box must lie in the image, whose sides are 1, not {self!r}")

    def draw(self, height: int, width: int) -> Tensor:
        """See `Pattern.draw`."""
        box = torch.zeros(height, width)
        first, left = int(self.top * height), int(self.left * width)
        last, right = round((self.top + self.height) * height), round((self.left + self.width) * width)
        box[first : max(last, first + 1), left : max(right, left + 1)] = 1.0
        return box


@register
class MapFile(Pattern):
    """The magnitudes of a map in a NumPy file, (H, W) or (C, H, W).

    Args:
        path: The .npy file.
    """

    path: str

    def draw(self, height: int, width: int) -> Tensor:
        """See `Pattern.draw`."""
        try:
            values = np.load(Path(self.path), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the map {self.path}: {error}") from error
        if values.ndim not in (2, 3) or values.shape[-2:] != (height, width) or not np.isfinite(values).all():
            raise ShapeError(f"the map {self.path} must be finite, ({height}, {width}) or (C, {height}, {width}), not {values.shape}")
        found = torch.from_numpy(np.abs(values.astype(np.float32)))
        return found if found.ndim == 2 else found.sum(0)


@register
class ReachMap(Goal):
    """Make the map look like a given one; the value is the cosine to it that was gained, of magnitudes.

    Args:
        target: The map to reach.

    Source: Dombrowski et al., NeurIPS 2019 (targeted manipulation).
    """

    target: Pattern = Rectangle()

    def climb(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Goal.climb`."""
        return self.reached(clean, moved)

    def reached(self, clean: Tensor, moved: Tensor) -> Tensor:
        """See `Goal.reached`."""
        height, width = moved.shape[2:]
        wanted = self.target.draw(height, width).to(moved.device, moved.dtype).view(1, 1, height, width).expand(len(moved), -1, -1, -1)
        before, after = (Cosine()(wanted, magnitude(maps).view(-1, 1, height, width)) for maps in (clean, moved))
        return before - after
