"""From an image file's bytes to an RGB tensor, by one documented set of rules."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from assay.data.base import CorruptFileError

__all__ = ["decode"]

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, Image.DecompressionBombError)


def decode(data: bytes, name: str, size: int | None = None) -> Tensor:
    """Decode a JPEG or PNG file.

    Grey values are repeated in the three channels (16-bit ones are first scaled to 8 bits), transparent pixels are laid
    over white, palettes and CMYK are converted to RGB, and the turn that EXIF asks for is made.

    Args:
        data: The file's bytes.
        name: How errors name the file.
        size: Resize the shorter side to this many pixels (bicubic) and cut the centre square; None keeps the size.

    Returns:
        (3, H, W) float32 in [0, 1].

    Raises:
        CorruptFileError: The bytes are no complete image.
    """
    try:
        with Image.open(BytesIO(data), formats=("JPEG", "PNG")) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            picture = _rgb(opened)
    except UnidentifiedImageError as error:
        what = "the file is empty" if not data else "it is no JPEG or PNG image"
        raise CorruptFileError(name, what) from error
    except _UNREADABLE as error:
        raise CorruptFileError(name, str(error) or type(error).__name__) from error
    if size is not None:
        picture = _centre_square(picture, size)
    pixels = np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1)
    # numpy rather than torch: for small images torch's overhead per call would double the time.
    return torch.from_numpy(pixels.astype(np.float32, order="C") / np.float32(255))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # Only 16-bit grey PNG gives these modes; PIL's own conversion would clip at 255.
        return Image.fromarray((np.asarray(picture, dtype=np.int64) // 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _centre_square(picture: Image.Image, size: int) -> Image.Image:
    width, height = picture.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + short, top + short))
