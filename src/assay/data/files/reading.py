"""How files become pixels: size, crop, channels, and which values are black and white."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from assay.core.registry import check_at_least, register
from assay.errors import SpecError

__all__ = ["AS_IT_IS", "Interpolation", "Reading", "resized"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Side = int | tuple[int, int]
_GREY = (0.299, 0.587, 0.114)
"""ITU-R 601 weights, as in PIL and torchvision."""


@register
class Reading:
    """What is done to each picture after it was decoded, in this order: values, channels, resize, crop.

    Args:
        resize: The shorter side in pixels, the proportions kept, or (height, width), into which the picture is squashed.
        crop: Side of the centre square, or (height, width) of the centre rectangle, cut out after that.
        interpolation: How `resize` interpolates, with antialiasing as in PIL.
        channels: 3 for RGB, grey repeated; 1 for grey, colours weighted as in ITU-R 601.
        range: Stored values that become 0 and 1, what lies outside being clipped; None for 0 and the largest possible
            value of 8- and 16-bit files, and for a DICOM file its own window.
        window: (centre, width), another way to say the range.
        letterbox: Keep the proportions where `resize` is (height, width): the picture is fitted into it, with black around.

    Raises:
        SpecError: A size is below 1, a range is empty, both `range` and `window` are given, or there is nothing to fit into.
    """

    resize: Side | None = None
    crop: Side | None = None
    interpolation: Interpolation = "bicubic"
    channels: Literal[1, 3] = 3
    range: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    letterbox: bool = False

    def __post_init__(self) -> None:
        if self.letterbox and not isinstance(self.resize, tuple):
            raise SpecError("Reading: letterbox fits pictures into a height and width; give resize as both, such as (224, 224)")
        for name in ("resize", "crop"):
            side = getattr(self, name)
            if isinstance(side, tuple):
                if min(side) < 1:
                    raise SpecError(f"Reading: {name} must be at least 1, not {side}")
            else:
                check_at_least(self, 1, name)
        if self.range is not None and self.window is not None:
            raise SpecError("Reading: range and window say the same thing; give one of them")
        low, high = self.limits or (0.0, 1.0)
        if not low < high:
            raise SpecError(f"Reading: the values from {low:g} to {high:g} are no range; the second must be larger")

    @property
    def limits(self) -> tuple[float, float] | None:
        """Stored values that become 0 and 1, where they were given."""
        if self.window is not None:
            return self.window[0] - self.window[1] / 2, self.window[0] + self.window[1] / 2
        return self.range

    def values(self, stored: NDArray[np.generic], natural: tuple[float, float] | None) -> NDArray[np.float32]:
        """Stored values as float32 in [0, 1].

        Args:
            stored: Any numbers.
            natural: Those that become 0 and 1 where nothing else was said; None where nothing but a range can tell.

        Raises:
            ValueError: The values need a range.
        """
        limits = self.limits or natural
        if limits is None:
            low, high = float(stored.min()), float(stored.max())
            if not 0 <= low <= high <= 1:
                raise ValueError(
                    f"its values run from {low:g} to {high:g}, and nothing says what is black and white; give range= (--range)"
                )
            limits = (0.0, 1.0)
        low, high = limits
        if natural == limits and low == 0:
            return stored.astype(np.float32) / np.float32(high)
        return ((stored.astype(np.float64) - low) / (high - low)).clip(0, 1).astype(np.float32)

    def shaped(self, pixels: NDArray[np.float32], eight_bits: bool) -> Tensor:
        """A picture (C, H, W) of 1 or 3 channels in [0, 1] with the channels and the size that are wanted, contiguous.

        Args:
            pixels: The picture.
            eight_bits: See `resized`.
        """
        if len(pixels) != self.channels:
            grey = np.tensordot(np.asarray(_GREY, np.float32), pixels, 1)[None] if len(pixels) == 3 else pixels
            pixels = grey if self.channels == 1 else np.repeat(grey, 3, axis=0)
        if self.resize is not None:
            size = _new_size(pixels.shape[1:], self.resize, self.letterbox)
            pixels = resized(pixels, size, self.interpolation, eight_bits)
            if self.letterbox and isinstance(self.resize, tuple):
                pixels = _centre(pixels, self.resize)
        if self.crop is not None:
            pixels = _centre(pixels, (self.crop, self.crop) if isinstance(self.crop, int) else self.crop)
        return torch.from_numpy(np.ascontiguousarray(pixels, np.float32))


AS_IT_IS = Reading()
"""Pictures in their own size, as RGB."""


def resized(
    pixels: NDArray[np.float32],
    size: tuple[int, int],
    interpolation: Interpolation,
    eight_bits: bool,
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.float32]:
    """A picture (C, H, W) in [0, 1] in another size, by PIL.

    Args:
        pixels: The picture.
        size: Height and width.
        interpolation: See `Reading`.
        eight_bits: Whether it is one of 8 bits, which then stays one, as in torchvision's transforms of PIL images.
        box: Left, top, right and bottom of the part to take; None for all.
    """
    planes = [np.round(one * 255).astype(np.uint8) if eight_bits else one for one in pixels]
    method = Image.Resampling[interpolation.upper()]
    done = np.stack([np.asarray(Image.fromarray(one).resize(size[::-1], method, box=box)) for one in planes])
    return done.astype(np.float32) / np.float32(255) if eight_bits else done.clip(0, 1).astype(np.float32)


def _new_size(shape: tuple[int, ...], side: Side, fitted: bool) -> tuple[int, int]:
    height, width = shape
    if not isinstance(side, int):
        share = min(side[0] / height, side[1] / width)
        return (max(1, round(height * share)), max(1, round(width * share))) if fitted else side
    # As torchvision does: the longer side is rounded down.
    return (side, int(side * width / height)) if height <= width else (int(side * height / width), side)


def _centre(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The middle (height, width), with black around a picture that is smaller."""
    lack = [max(0, want - have) for want, have in zip(size, pixels.shape[1:], strict=True)]
    if any(lack):
        pixels = np.pad(pixels, [(0, 0), *((one // 2, one - one // 2) for one in lack)])
    top, left = (round((have - want) / 2) for have, want in zip(pixels.shape[1:], size, strict=True))
    return pixels[:, top : top + size[0], left : left + size[1]]
