"""Pictures for pages and folders: photographs, maps laid over images, PNG bytes and data addresses."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from assay.errors import ShapeError
from assay.report.figures.colour import NOT_FINITE, robust_limit, signed_levels, signed_palette, sum_channels
from assay.report.outline import edges

__all__ = ["certified", "data_uri", "magnified", "outlined", "overlay", "photo", "png_bytes", "visible"]


def visible(image: Tensor) -> Tensor:
    """Images (..., C, H, W) as they are shown: what has no colours as the channels' mean."""
    return image if image.shape[-3] in (1, 3) else image.mean(-3, keepdim=True)


def photo(image: Tensor) -> Image.Image:
    """An image tensor (3, H, W) or (1, H, W) with pixels in [0, 1] as a picture of H x W pixels.

    Raises:
        ShapeError: Another rank or number of channels.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ShapeError(f"an image to show must be (3, H, W) or (1, H, W), not {tuple(image.shape)}")
    pixels = (image.detach().cpu().double().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def magnified(picture: Image.Image, side: int) -> Image.Image:
    """Repeat pixels by the smallest whole factor that makes the longer side at least `side` pixels."""
    factor = max(1, -(-side // max(picture.size)))
    return picture if factor == 1 else picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def overlay(image: Tensor, attribution: Tensor, limit: float | None = None, truth: Tensor | None = None, side: int = 256) -> Image.Image:
    """Lay one signed map over its image, the image in pale grey, colour by sign and strength.

    Args:
        image: (3, H, W) or (1, H, W), pixels in [0, 1].
        attribution: (C, H, W), channels are added.
        limit: Absolute value at which colours saturate, in the map's units; by default the map's own `robust_limit`.
            Pass one limit for all pictures that are to be compared.
        truth: (H, W) or (1, H, W) bool, outlined in black.
        side: The longer side is at least this many pixels; pixels are repeated, never blurred.

    Raises:
        ShapeError: The map, mask and image differ in size.
    """
    size = tuple(image.shape[-2:])
    if attribution.ndim != 3 or tuple(attribution.shape[1:]) != size:
        raise ShapeError(f"the map has shape {tuple(attribution.shape)}, but its image needs (C, {size[0]}, {size[1]})")
    grey = np.asarray(photo(image).convert("L"), dtype=float)[..., None]
    backdrop = 140 + grey * (110 / 255)
    limit = robust_limit(attribution) if limit is None else limit
    values = sum_channels(attribution).numpy()
    levels = signed_levels(values, limit)
    strength = np.where(levels == NOT_FINITE, 1.0, np.abs(levels.astype(float) - 127) / 127)[..., None] ** 0.7
    blended = backdrop * (1 - strength) + signed_palette()[levels] * strength
    shown = magnified(Image.fromarray(blended.round().astype(np.uint8)), side)
    return shown if truth is None else outlined(shown, truth, size)


def certified(image: Tensor, pixels: Tensor, side: int = 256) -> Image.Image:
    """Lay one image's certified pixels over it: red in the top, blue out of it, those that are open in grey.

    Args:
        image: (3, H, W) or (1, H, W), pixels in [0, 1].
        pixels: (H, W), 1, -1 or 0: a row of `Certificate.pixels`.
        side: See `overlay`.

    Raises:
        ShapeError: They differ in size.
    """
    return overlay(image, pixels[None].float() * 0.6, 1.0, side=side)


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as an optimised PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(picture: Image.Image) -> str:
    """The picture as a `data:` address, so that a page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode("ascii")


def outlined(shown: Image.Image, truth: Tensor, size: tuple[int, ...]) -> Image.Image:
    """Draw a mask's border into a picture of an image of that size (H, W), enlarged by a whole factor; returns the picture.

    Raises:
        ShapeError: The mask has another size.
    """
    mask = truth[0] if truth.ndim == 3 else truth
    if tuple(mask.shape) != size:
        raise ShapeError(f"the mask has shape {tuple(truth.shape)}, but its image is {size[0]} x {size[1]}")
    factor = shown.width // size[1]
    draw = ImageDraw.Draw(shown)
    across, along = edges(mask)
    lines = [((a, y), (b, y)) for y, a, b in across] + [((x, a), (x, b)) for x, a, b in along]
    for colour, width in (("white", 3), ("black", 1)):
        for (x0, y0), (x1, y1) in lines:
            draw.line((x0 * factor, y0 * factor, x1 * factor, y1 * factor), fill=colour, width=width)
    return shown
