"""From an image file's bytes to a tensor, by one documented set of rules."""

from __future__ import annotations

import struct
import tokenize
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from assay.data.base import CorruptFileError
from assay.data.files.dicom import is_dicom, read_dicom
from assay.data.files.reading import AS_IT_IS, Reading, resized

__all__ = ["decode", "picture"]

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_NPY = b"\x93NUMPY"
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    tokenize.TokenError,
    MemoryError,
    OverflowError,
    Image.DecompressionBombError,
)
_DEEP = {"I;16": 65535.0, "I;16B": 65535.0, "I;16L": 65535.0}
"""Largest value of PIL's modes that keep more than 8 bits; others need to be told."""


def decode(data: bytes, name: str, size: int | None = None, reading: Reading = AS_IT_IS) -> Tensor:
    """Decode a JPEG, PNG, WebP, BMP, TIFF, DICOM or npy file.

    Grey values are repeated in the three channels and keep their depth (16 and 32 bits too), transparent pixels are laid over
    white, palettes and CMYK are converted to RGB, and the turn that EXIF asks for is made. An npy array is (H, W), (H, W, 1 or
    3) or (1 or 3, H, W). Files of several pages are refused.

    Args:
        data: The file's bytes.
        name: How errors name the file.
        size: Resize the shorter side to this many pixels (bicubic) and cut the centre square; None keeps the size.
        reading: What else is done to the picture.

    Returns:
        (3, H, W), or (1, H, W) where `reading` asks for grey, float32 in [0, 1].

    Raises:
        CorruptFileError: The bytes are no complete image, hold several, or nothing says which values are black and white.
    """
    try:
        pixels, natural = _stored(data)
        values = reading.values(pixels, natural)
    except UnidentifiedImageError as error:
        what = "the file is empty" if not data else "it is no image of a known kind"
        raise CorruptFileError(name, what) from error
    except _UNREADABLE as error:
        raise CorruptFileError(name, str(error) or type(error).__name__) from error
    eight_bits = pixels.dtype == np.uint8
    if size is not None:
        height, width = values.shape[1:]
        short = min(width, height)
        left, top = (width - short) / 2, (height - short) / 2
        values = resized(values, (size, size), "bicubic", eight_bits, (left, top, left + short, top + short))
    if len(values) == reading.channels and reading.resize is None and reading.crop is None:
        # numpy rather than torch: for small images torch's overhead per call would double the time.
        return torch.from_numpy(np.ascontiguousarray(values))
    return reading.shaped(values, eight_bits)


def _stored(data: bytes) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """The values (1 or 3, H, W) as they are stored, and those that stand for 0 and 1 where the format says so."""
    if data.startswith(_NPY):
        return _from_npy(data)
    if is_dicom(data):
        return read_dicom(data)
    with Image.open(BytesIO(data), formats=_FORMATS) as opened:
        pages = getattr(opened, "n_frames", 1)
        if pages > 1:
            raise ValueError(f"it holds {pages} pages where one image is needed; save the one that you mean as a file of its own")
        _check_whole(opened)
        ImageOps.exif_transpose(opened, in_place=True)
        return _of_picture(opened)


def _check_whole(opened: Image.Image) -> None:
    """Raise ValueError where the parts of a file, such as a TIFF's strips, leave some of its pixels out, which PIL would take for black."""
    parts = [part[1] for part in getattr(opened, "tile", ()) if part[1] is not None]
    held, due = sum((right - left) * (low - top) for left, top, right, low in parts), opened.width * opened.height
    if parts and held < due:
        raise ValueError(f"it holds {held} of its {due} pixels")


def picture(opened: Image.Image, reading: Reading) -> Tensor:
    """A PIL image (C, H, W) in [0, 1], prepared; grey ones keep their one channel where nothing is to be done to them.

    Raises:
        ValueError: Nothing says which of its values is white.
    """
    pixels, natural = _of_picture(opened)
    values = reading.values(pixels, natural)
    return torch.from_numpy(np.ascontiguousarray(values)) if reading == AS_IT_IS else reading.shaped(values, pixels.dtype == np.uint8)


def _of_picture(opened: Image.Image) -> tuple[NDArray[Any], tuple[float, float] | None]:
    if opened.mode.startswith(("I", "F")):
        top = 65535.0 if opened.format == "PNG" else _DEEP.get(opened.mode)
        return np.asarray(opened)[None], None if top is None else (0.0, top)
    made = opened.convert("L") if opened.mode in ("1", "L") and not opened.has_transparency_data else _rgb(opened)
    pixels = np.asarray(made, dtype=np.uint8)
    return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)), (0.0, 255.0)


def _from_npy(data: bytes) -> tuple[NDArray[Any], tuple[float, float] | None]:
    array = np.load(BytesIO(data), allow_pickle=False)
    if array.dtype.kind not in "fiub" or array.ndim not in (2, 3) or not array.size:
        raise ValueError(f"an array of shape {array.shape} and type {array.dtype} is no image (H, W), (H, W, 3) or (3, H, W)")
    if array.ndim == 2:
        array = array[None]
    elif array.shape[0] not in (1, 3):
        array = array.transpose(2, 0, 1)
    if array.shape[0] not in (1, 3):
        raise ValueError(f"an array of shape {array.shape} has neither one nor three channels")
    top = {"uint8": 255.0, "uint16": 65535.0, "bool": 1.0}.get(array.dtype.name)
    return array, None if top is None else (0.0, top)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")
