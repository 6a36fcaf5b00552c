"""What a mask leaves of an image, and how far apart predictions are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from assay.errors import ShapeError
from assay.explain.refine import refine

__all__ = ["TOLERANCE", "drawn_masks", "enlarge_masks", "gap", "grid_cells", "pixels", "roughness", "simplify", "upsampling"]

_CHUNK = 64
"""Images whose masks are drawn at once, which bounds the memory."""
_CELLS = 30
"""Cells along the shorter side that `upsampling` comes close to."""
TOLERANCE = 1e-5
"""Differences of probabilities that are rounding noise; see `gap`."""


def upsampling(height: int, width: int, wanted: int | None) -> int:
    """Pixels along a cell's side; None gives a grid of about 30 cells along the shorter side.

    Raises:
        ShapeError: A cell is larger than the image.
    """
    side = min(height, width)
    if wanted is None:
        return max(1, round(side / _CELLS))
    if wanted > side:
        raise ShapeError(f"upsample={wanted} makes a mask cell larger than the images, which are {height}x{width}; make it smaller")
    return wanted


def grid_cells(height: int, width: int, upsample: int) -> tuple[int, int]:
    """Rows and columns of the mask's grid, the last ones cut off where the image ends."""
    return -(-height // upsample), -(-width // upsample)


def enlarge_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks (n, 1, rows, columns) at the images' size, bilinear."""
    if masks.shape[2:] == (height, width):
        return masks
    return interpolate(masks, (height, width), mode="bilinear", align_corners=False)


def drawn_masks(masks: Tensor, images: Tensor, edges: bool) -> Tensor:
    """Masks (n, 1, rows, columns) as they are shown, (n, 1, H, W) in [0, 1].

    Args:
        masks: On their grid.
        images: (n, C, H, W), bytes or floats.
        edges: Whether they are drawn along the edges of the images, see `assay.explain.refine`; else they are enlarged alone.
    """
    large = enlarge_masks(masks, *images.shape[2:])
    if not edges:
        return large
    parts = zip(large.split(_CHUNK), images.split(_CHUNK), strict=True)
    return torch.cat([refine(part, pixels(image, masks.device)) for part, image in parts]).clamp_(max=1)


def simplify(images: Tensor, masks: Tensor, backgrounds: Tensor) -> Tensor:
    """`m x + (1 - m) q`: images (n, C, H, W) where masks (n, 1, rows, columns) are 1, backgrounds where they are 0."""
    return torch.lerp(backgrounds, images, enlarge_masks(masks, *images.shape[2:]))


def roughness(masks: Tensor) -> Tensor:
    """Mean absolute difference (n,) between neighbouring cells."""
    down, across = masks.diff(dim=2).abs().sum((1, 2, 3)), masks.diff(dim=3).abs().sum((1, 2, 3))
    return (down + across) / masks[0].numel()


def pixels(images: Tensor, device: torch.device) -> Tensor:
    """Bytes or floats (n, C, H, W) as float32 in [0, 1] on the device."""
    moved = images.to(device)
    return moved.float() / 255 if moved.dtype == torch.uint8 else moved.float()


def gap(one: Tensor, other: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """L1 distance (n,) of class probabilities (n, K), summed over classes.

    The first `tolerance` of each difference does not count: there its sign, which is L1's whole gradient, is rounding noise. The tuned
    model starts as a copy of the given one, so its first steps would follow that noise, and Adam would make them of full size. The
    authors' script has no such tolerance.
    """
    apart = (one - other).abs()
    return ((apart - tolerance).clamp(min=0) if tolerance else apart).sum(1)
