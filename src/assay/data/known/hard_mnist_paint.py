"""The vectorised painter of Hard MNIST."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from assay.data.known.compose import below, stripes, windows

__all__ = ["paint_mnist", "resize"]

_SCALE = 2**8  # Weights are whole numbers over this: 255 * 2**16 is below 2**24, so that float32 sums are exact in any order.
_PLACE, _SMALL = 20, 24  # Words of the header that place the digit and the distractor; 8 to 17 are the stripes'.

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def paint_mnist(size: int, large: Bytes, small: Bytes, header: NDArray[np.uint64], noise: Bytes) -> tuple[Bytes, Mask, Mask]:
    """Paint N images.

    Args:
        size: Side of the canvas.
        large: (N, 28, 28, 3) labelled digits.
        small: (N, 28, 28, 3) distractors.
        header: (N, HEADER) random words.
        noise: (N, 3 * size * size) random bytes.

    Returns:
        Images (N, 3, size, size) uint8, truth (N, size, size) and visible distractor (N, size, size) bool.
    """
    count, digit_side, small_side = len(header), size // 2, size // 4
    ground, large = _ground(large), large.transpose(0, 3, 1, 2)
    canvas = np.where(stripes(size, header)[:, None], noise.reshape(count, 3, size, size), ground[:, :, None, None])
    truth = np.zeros((count, size, size), np.bool_)
    distractor = np.zeros_like(truth)
    row = np.arange(count)

    ink = _ink(small, small_side)
    top, left = below(header[:, _SMALL : _SMALL + 2], size - small_side + 1).T
    window = sliding_window_view(canvas, (small_side, small_side), axis=(2, 3), writeable=True)
    under, over = window[row, :, top, left], resize(small.transpose(0, 3, 1, 2), small_side)
    window[row, :, top, left] = np.where(ink[:, None], over, under)
    windows(distractor, small_side)[row, top, left] = ink

    top, left = below(header[:, _PLACE : _PLACE + 2], size - digit_side + 1).T
    window = sliding_window_view(canvas, (digit_side, digit_side), axis=(2, 3), writeable=True)
    window[row, :, top, left] = resize(large, digit_side)
    windows(distractor, digit_side)[row, top, left] = False
    windows(truth, digit_side)[row, top, left] = _ink(large.transpose(0, 2, 3, 1), digit_side)
    return canvas, truth, distractor


def resize(images: Bytes, side: int) -> Bytes:
    """Bilinear (antialiased) resizing of (N, C, h, h) to (N, C, side, side), the same on every machine."""
    weights = _weights(images.shape[-1], side)
    exact = weights @ images.astype(np.float32) @ weights.T
    resized: Bytes = np.floor(exact / _SCALE**2 + 0.5).astype(np.uint8)
    return resized


def _ground(images: Bytes) -> Bytes:
    """(N, 3) colours of the grounds: the median of the border, since ink seldom reaches it."""
    border = np.concatenate([images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]], axis=1)
    colour: Bytes = np.median(border, axis=1).astype(np.uint8)
    return colour


def _ink(images: Bytes, side: int) -> Mask:
    """(N, side, side) where at least half is ink: what differs from the ground, as a share of what differs most."""
    apart = np.abs(images.astype(np.int16) - _ground(images)[:, None, None]).max(axis=3)
    most = np.maximum(apart.max(axis=(1, 2), keepdims=True), 1)
    coverage = (apart * 255 // most).astype(np.uint8)
    inside: Mask = resize(coverage[:, None], side)[:, 0] >= 128
    return inside


@lru_cache(maxsize=8)
def _weights(old: int, new: int) -> NDArray[np.float32]:
    """(new, old) weights of a triangle filter as whole numbers, `_SCALE` in sum per row."""
    scale = old / new
    centre = (np.arange(new) + 0.5) * scale - 0.5
    triangle = np.maximum(1 - np.abs(centre[:, None] - np.arange(old)) / max(scale, 1.0), 0)
    weights: NDArray[np.float64] = np.round(triangle / triangle.sum(1, keepdims=True) * _SCALE)
    weights[np.arange(new), weights.argmax(1)] += _SCALE - weights.sum(1)
    return weights.astype(np.float32)
