"""DICOM files: one greyscale or RGB frame, with the modality's scale and the file's own window."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import DataError

__all__ = ["is_dicom", "read_dicom"]


def is_dicom(data: bytes) -> bool:
    """Whether a file has the mark of DICOM after its preamble."""
    return data[128:132] == b"DICM"


def read_dicom(data: bytes) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Values (1 or 3, H, W) in the modality's units (Hounsfield units of a CT), and those that the file shows as black and white.

    These are the file's first window, or else all values that its bits can hold. Of `MONOCHROME1`, where large values are dark,
    the negative values are given, so that large is bright.

    Raises:
        DataError: pydicom is not installed.
        ValueError: There are several frames.
    """
    try:
        import pydicom
    except ImportError as error:
        raise DataError('DICOM files need pydicom: pip install "assay[dicom]"') from error
    found = pydicom.dcmread(BytesIO(data))
    frames = int(found.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        raise ValueError(f"it holds {frames} frames where one image is needed; save the one that you mean as a file of its own")
    try:
        pixels = np.asarray(found.pixel_array)
    except Exception as error:  # pydicom's decoders raise whatever they like
        raise ValueError(f"its pixels cannot be decoded: {error}") from error
    if pixels.ndim == 3:
        return pixels.transpose(2, 0, 1), (0.0, float(2 ** int(found.BitsStored) - 1))
    slope, shift = float(found.get("RescaleSlope", 1) or 1), float(found.get("RescaleIntercept", 0) or 0)
    values = pixels.astype(np.float64)[None] * slope + shift
    window = _first(found.get("WindowCenter")), _first(found.get("WindowWidth"))
    bits, signed = int(found.BitsStored), bool(found.get("PixelRepresentation", 0))
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    limits = sorted((low * slope + shift, high * slope + shift))
    if window[0] is not None and window[1]:
        limits = [window[0] - window[1] / 2, window[0] + window[1] / 2]
    if found.get("PhotometricInterpretation") == "MONOCHROME1":
        return -values, (-limits[1], -limits[0])
    return values, (limits[0], limits[1])


def _first(value: Any) -> float | None:
    """The first of one or several values."""
    if value is None or value == "":
        return None
    return float(value) if isinstance(value, int | float | str) or not hasattr(value, "__len__") else float(value[0])
