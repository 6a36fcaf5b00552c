"""Images of any shape made square, as the DiET paper does."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

__all__ = ["squash"]


def squash(image: Tensor, size: int) -> Tensor:
    """Resize (3, H, W) to (3, size, size) bilinearly, whatever its proportions, and round to 8 bits; nothing is cut off."""
    if image.shape[1:] == (size, size):
        return image
    resized = interpolate(image[None], (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
    return resized.clamp(0, 1).mul(255).round().div(255)
