"""What can be planted into images: patches, noise, stripes and glyphs, drawn where and how an image's number says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from assay.core.noise import normal, uniform
from assay.core.registry import check_at_least, check_choice, check_positive, register
from assay.data.known.glyphs import render_glyph, source_digits
from assay.errors import DataError, SpecError

__all__ = ["Glyph", "Mark", "NoisePatch", "Patch", "Stripe"]

PLACES = ("random", "cycle", "top-left", "top-right", "bottom-left", "bottom-right")
"""`cycle` goes through the columns of the top row with the image's number; the others are what they say."""

_WHITE = (1.0, 1.0, 1.0)

Colour = tuple[float, float, float]


class Mark(ABC):
    """Something that is drawn over an image; subclasses are registered.

    Attributes:
        place: One of `PLACES`.
    """

    place: str

    @property
    @abstractmethod
    def tells_classes(self) -> bool:
        """Whether the marks of different classes look different."""

    @abstractmethod
    def draw(self, images: Tensor, kind: Tensor, kinds: int, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Draw one mark into every image.

        Args:
            images: (N, 3, H, W) in [0, 1]; they are not changed.
            kind: (N,) int64, whose class's mark each image gets.
            kinds: How many classes there are.
            index: (N,) int64, the images' numbers.
            seed: Decides, with the number, where the mark lies and what its noise is.

        Returns:
            The marked images, 8 bits deep within the mark, and (N, 1, H, W) bool, where the mark lies.

        Raises:
            DataError: The mark does not fit the images, or cannot tell that many classes.
        """

    def _box(self, images: Tensor, height: int, width: int, index: Tensor, seed: int) -> Tensor:
        """(N, 1, H, W) bool, a box of `height` x `width` pixels at each image's place."""
        rows, columns = images.shape[-2:]
        if height > rows or width > columns:
            raise DataError(f"{self!r} is {width} x {height} pixels and does not fit images of {columns} x {rows}: make it smaller")
        top, left = _corners(self.place, rows - height, columns - width, width, index, seed)
        down, across = torch.arange(rows, device=index.device), torch.arange(columns, device=index.device)
        inside_rows = (down >= top[:, None]) & (down < top[:, None] + height)
        inside_columns = (across >= left[:, None]) & (across < left[:, None] + width)
        return (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]


@register
class Patch(Mark):
    """A square of one colour.

    Args:
        side: Its side in pixels.
        colour: Red, green and blue in [0, 1]; None for colours around the colour wheel, one for each class.
        place: Where it lies: "random", "cycle" (columns of the top row in turn) or a corner such as "top-left".

    Raises:
        SpecError: A parameter is out of range.
    """

    side: int = 8
    colour: Colour | None = None
    place: str = "random"

    def __post_init__(self) -> None:
        check_at_least(self, 1, "side")
        check_choice(self, "place", PLACES)
        _check_colour(self, self.colour)

    @property
    def tells_classes(self) -> bool:
        """Whether every class has its own colour."""
        return self.colour is None

    def draw(self, images: Tensor, kind: Tensor, kinds: int, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Draw one square into every image; see `Mark.draw`."""
        box = self._box(images, self.side, self.side, index, seed)
        return torch.where(box, _ink(self.colour, kind, kinds, images), images), box


@register
class Stripe(Mark):
    """A stripe of one colour from one edge of the image to the other.

    Args:
        width: Its width in pixels.
        colour: Red, green and blue in [0, 1]; None for colours around the colour wheel, one for each class.
        axis: "horizontal" or "vertical".
        place: Where it lies; see `Patch`.

    Raises:
        SpecError: A parameter is out of range.
    """

    width: int = 4
    colour: Colour | None = None
    axis: str = "horizontal"
    place: str = "random"

    def __post_init__(self) -> None:
        check_at_least(self, 1, "width")
        check_choice(self, "axis", ("horizontal", "vertical"))
        check_choice(self, "place", PLACES)
        _check_colour(self, self.colour)

    @property
    def tells_classes(self) -> bool:
        """Whether every class has its own colour."""
        return self.colour is None

    def draw(self, images: Tensor, kind: Tensor, kinds: int, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Draw one stripe into every image; see `Mark.draw`."""
        rows, columns = images.shape[-2:]
        height, width = (self.width, columns) if self.axis == "horizontal" else (rows, self.width)
        box = self._box(images, height, width, index, seed)
        return torch.where(box, _ink(self.colour, kind, kinds, images), images), box


@register
class NoisePatch(Mark):
    """Gaussian noise added to a square, the same for all classes: the tag of the paper's chest X-rays.

    Args:
        side: The square's side in pixels.
        strength: Standard deviation of the noise as a share of the image's range (largest less smallest pixel).
        place: Where it lies; see `Patch`.

    Raises:
        SpecError: A parameter is out of range.

    Source: Bhalla, Srinivas, Lakkaraju, Discriminative Feature Attributions, NeurIPS 2023, section 4.
    """

    side: int = 16
    strength: float = 0.05
    place: str = "cycle"

    tells_classes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_at_least(self, 1, "side")
        check_positive(self, "strength")
        check_choice(self, "place", PLACES)

    def draw(self, images: Tensor, kind: Tensor, kinds: int, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Add noise to a square of every image; see `Mark.draw`."""
        box = self._box(images, self.side, self.side, index, seed)
        noise = normal(seed, "mark noise", index, torch.zeros_like(index), (3, self.side, self.side))
        spread = torch.zeros_like(images).masked_scatter_(box.expand_as(images), noise.to(images))
        low, high = images.flatten(1).aminmax(dim=1)
        noisy = _bytes(images + spread * (self.strength * (high - low))[:, None, None, None])
        return torch.where(box, noisy, images), box


@register
class Glyph(Mark):
    """A small handwritten digit, the number of the class, for up to ten classes.

    Args:
        side: Side of its tile in pixels; only the ink is drawn.
        colour: Red, green and blue of the ink in [0, 1].
        place: Where the tile lies; see `Patch`.

    Raises:
        SpecError: A parameter is out of range.
    """

    side: int = 16
    colour: Colour = _WHITE
    place: str = "random"

    tells_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(self, 6, "side")
        check_choice(self, "place", PLACES)
        _check_colour(self, self.colour)

    def draw(self, images: Tensor, kind: Tensor, kinds: int, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Draw one digit into every image; see `Mark.draw`."""
        if kinds > 10:
            raise DataError(f"{self!r} can tell 10 classes, not {kinds}: plant a Patch or a Stripe instead")
        box = self._box(images, self.side, self.side, index, seed)
        labels = torch.from_numpy(source_digits()[1])
        first = torch.stack([(labels == number).nonzero()[0, 0] for number in range(10)])
        tiles = torch.from_numpy(render_glyph(self.side)[first[kind.cpu()].numpy()] >= 128).to(box.device)
        ink = torch.zeros_like(box).masked_scatter_(box, tiles)
        return torch.where(ink, _ink(self.colour, kind, kinds, images), images), ink


def _corners(place: str, low_room: int, side_room: int, width: int, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Top rows and left columns (N,) of boxes that leave `low_room` rows and `side_room` columns free."""
    if place == "random":
        room = torch.tensor([low_room, side_room], device=index.device)
        unit = uniform(seed, "mark place", index, torch.zeros_like(index), (2,))
        drawn = (unit * (room + 1)).long().minimum(room)
        return drawn[:, 0], drawn[:, 1]
    if place == "cycle":
        return torch.zeros_like(index), index % (side_room // width + 1) * width
    down, across = place.split("-")
    return torch.full_like(index, low_room * (down == "bottom")), torch.full_like(index, side_room * (across == "right"))


def _ink(colour: Colour | None, kind: Tensor, kinds: int, images: Tensor) -> Tensor:
    """(N, 3, 1, 1) colours: one for all, or pure colours around the colour wheel, one for each class."""
    if colour is None:
        turn = kind[:, None].to(images.dtype) * 6 / kinds + torch.tensor([0, 4, 2], device=images.device)
        tint = ((turn % 6 - 3).abs() - 1).clamp(0, 1)
    else:
        tint = torch.tensor(colour, dtype=images.dtype, device=images.device).expand(len(kind), 3)
    return _bytes(tint)[:, :, None, None]


def _bytes(pixels: Tensor) -> Tensor:
    """The nearest values that 8 bits hold, as in an image file."""
    return pixels.clamp(0, 1).mul(255).round().div(255)


def _check_colour(mark: Mark, colour: Colour | None) -> None:
    if colour is not None and not all(0 <= part <= 1 for part in colour):
        raise SpecError(f"{type(mark).__name__}: colour must be three numbers from 0 to 1, not {colour!r}")
