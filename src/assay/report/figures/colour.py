"""One colour scale for signed maps: blue below zero, near white at zero, red above, and the limit where it saturates."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from assay.errors import ShapeError

__all__ = ["colour_bar", "colourise", "robust_limit", "signed_levels", "signed_palette", "sum_channels"]

NOT_FINITE = 255
"""The palette's entry for NaN and infinities; a grey that the scale itself never shows."""

_ZERO = 127
_STOPS = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f"  # ColorBrewer's RdBu, reversed


@functools.cache
def _palette_bytes() -> bytes:
    stops = np.array([list(bytes.fromhex(stop)) for stop in _STOPS.split()], dtype=float)
    at = np.linspace(0, len(stops) - 1, 2 * _ZERO + 1)
    scale = np.stack([np.interp(at, range(len(stops)), stops[:, channel]) for channel in range(3)], axis=1)
    return np.vstack([scale, [[128, 128, 128]]]).round().astype(np.uint8).tobytes()


def signed_palette() -> NDArray[np.uint8]:
    """(256, 3): entries 0..254 run from -1 to 1 with zero exactly at 127, entry 255 marks values that are not finite."""
    return np.frombuffer(_palette_bytes(), dtype=np.uint8).reshape(256, 3)


def sum_channels(maps: Tensor) -> Tensor:
    """Add a map's channels, keeping the sign: (..., C, H, W) to (..., H, W) float64 on the CPU."""
    return maps.detach().to("cpu", torch.float64).sum(dim=-3)


def robust_limit(maps: Tensor, quantile: float = 0.995) -> float:
    """The absolute value (channels added) that the colour scale ends at: a quantile, so that single pixels do not set it.

    Args:
        maps: (..., C, H, W); values that are not finite are left out.
        quantile: Share of pixels below the limit.

    Returns:
        The quantile; the maximum if the quantile is zero (very sparse maps); 0 if nothing differs from zero.
    """
    sizes = sum_channels(maps).abs().numpy()
    sizes = sizes[np.isfinite(sizes)]
    if sizes.size == 0:
        return 0.0
    return float(np.quantile(sizes, quantile)) or float(sizes.max())


def signed_levels(values: NDArray[np.float64], limit: float) -> NDArray[np.uint8]:
    """Palette entries of values: -limit gives 0, 0 gives 127, limit gives 254, beyond saturates, not finite gives 255."""
    finite = np.isfinite(values)
    unit = np.clip(np.where(finite, values, 0.0) / limit, -1.0, 1.0) if limit > 0 else np.zeros_like(values)
    return np.where(finite, np.rint(unit * _ZERO) + _ZERO, NOT_FINITE).astype(np.uint8)


def colourise(attribution: Tensor, limit: float) -> Image.Image:
    """Paint one signed map.

    Args:
        attribution: (C, H, W), channels are added.
        limit: The absolute value at which the colours saturate, in the map's units; 0 paints every finite pixel neutral.

    Returns:
        A palette picture of H x W pixels.

    Raises:
        ShapeError: The map is not (C, H, W).
    """
    if attribution.ndim != 3:
        raise ShapeError(f"a map to paint must be (C, H, W), not {tuple(attribution.shape)}")
    return _paint(signed_levels(sum_channels(attribution).numpy(), limit))


def colour_bar() -> Image.Image:
    """The scale itself from -1 to 1, 255 x 1 pixels."""
    return _paint(np.arange(2 * _ZERO + 1, dtype=np.uint8)[None])


def _paint(levels: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(levels)
    picture.putpalette(_palette_bytes())
    return picture
