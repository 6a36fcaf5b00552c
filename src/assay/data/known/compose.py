"""The vectorised painter of Hard Digits: canvas colour, noise stripes, distractor tile, digit tile."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from assay.data.known.glyphs import render_glyph

__all__ = ["HEADER", "below", "paint_digits", "stripes", "windows"]

HEADER = 64
"""Random words per item that decide everything but the noise."""

_TRIES = 16  # Places drawn for the distractor; the first that stays half visible is taken.
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # Of red, green and blue (Rec. 709).
# Words of the header: 0 is the small digit; then colours, stripes, the digit's place and the distractor's tries.
_COLOURS, _STRIPES, _PLACE, _SMALL = 1, 8, 20, 24

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Words = NDArray[np.uint64]
Ints = NDArray[np.int64]


def below(words: Words, limit: Ints | int) -> Ints:
    """Whole numbers from 0 to `limit` - 1, one for each random word."""
    numbers: Ints = np.floor(_unit(words) * limit).astype(np.int64)
    return numbers


def paint_digits(size: int, large: Ints, small: Ints, header: Words, noise: Bytes) -> tuple[Bytes, Mask, Mask]:
    """Paint N images; proportions are those of Hard MNIST's 224 canvas (digit 112, distractor 56, stripes up to 50).

    Args:
        size: Side of the canvas.
        large: (N,) numbers of the labelled source digits.
        small: (N,) numbers of the distractors.
        header: (N, HEADER) random words.
        noise: (N, 3 * size * size) random bytes.

    Returns:
        Images (N, 3, size, size) uint8, truth (N, size, size) and visible distractor (N, size, size) bool.
    """
    count, digit_side, small_side = len(header), size // 2, size // 4
    ground, ink = _colours(header[:, _COLOURS : _COLOURS + 6])
    canvas = np.where(stripes(size, header)[:, None], noise.reshape(count, 3, size, size), ground[:, :, None, None])
    truth = np.zeros((count, size, size), np.bool_)
    distractor = np.zeros_like(truth)
    places = below(header[:, _PLACE : _PLACE + 2], size - digit_side + 1)
    corners = _distractor_places(size, digit_side, small_side, places, header)
    row = np.arange(count)

    coverage = render_glyph(small_side)[small]
    window = sliding_window_view(canvas, (small_side, small_side), axis=(2, 3), writeable=True)
    at = (row, slice(None), corners[:, 0], corners[:, 1])
    window[at] = _blend(window[at], ink, coverage)
    windows(distractor, small_side)[row, corners[:, 0], corners[:, 1]] = coverage >= 128

    # The digit's whole tile is pasted, in the canvas colour: what lies under it is gone, as in Hard MNIST.
    coverage = render_glyph(digit_side)[large]
    window = sliding_window_view(canvas, (digit_side, digit_side), axis=(2, 3), writeable=True)
    tile = np.broadcast_to(ground[:, :, None, None], (count, 3, digit_side, digit_side))
    window[row, :, places[:, 0], places[:, 1]] = _blend(tile, ink, coverage)
    windows(distractor, digit_side)[row, places[:, 0], places[:, 1]] = False
    windows(truth, digit_side)[row, places[:, 0], places[:, 1]] = coverage >= 128
    return canvas, truth, distractor


def stripes(size: int, header: Words) -> Mask:
    """Where the noise goes.

    Args:
        size: Side of the canvas.
        header: (N, HEADER) random words; 8 to 17 decide.

    Returns:
        (N, size, size) bool: 0 to 2 horizontal and 0 to 2 vertical stripes, each 1 to 50/224 of the canvas wide.
    """
    along = np.arange(size)
    bands: list[Mask] = []
    for axis in range(2):
        base = _STRIPES + 5 * axis
        number = below(header[:, base], 3)
        width = below(header[:, base + 1 : base + 3], round(size * 50 / 224)) + 1
        start = below(header[:, base + 3 : base + 5], size - width + 1)
        inside = (along >= start[:, :, None]) & (along < (start + width)[:, :, None])
        drawn = inside & (np.arange(2) < number[:, None])[:, :, None]
        bands.append(drawn[:, 0] | drawn[:, 1])
    mask: Mask = bands[0][:, :, None] | bands[1][:, None, :]
    return mask


def _unit(words: Words) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64)
    unit *= 2.0**-53
    return unit


def windows(masks: Mask, side: int) -> Mask:
    """A writeable view (N, rows, columns, side, side) of all squares in masks (N, H, W)."""
    view: Mask = sliding_window_view(masks, (side, side), axis=(1, 2), writeable=True)
    return view


def _blend(under: Bytes, ink: Bytes, coverage: Bytes) -> Bytes:
    """Lay `ink` (N, 3) over `under` (N, 3, h, w) where `coverage` (N, h, w) says, in whole numbers."""
    weight = coverage[:, None].astype(np.uint16)
    mixed: Bytes = ((under * (255 - weight) + ink[:, :, None, None] * weight + 127) // 255).astype(np.uint8)
    return mixed


def _colours(words: Words) -> tuple[Bytes, Bytes]:
    """A deep saturated colour for the canvas and a pale tint for the ink of both digits, (N, 3) each.

    The canvas has a luminance of at most 0.34 and the ink of at least 0.65, so that every digit stands out.
    """
    unit = _unit(words)
    ground = 1.0 - (0.6 + 0.4 * unit[:, 1:2]) * (1.0 - _hue(unit[:, 0]))
    wanted = 0.14 + 0.2 * unit[:, 2:3]
    ground = ground * np.minimum(wanted / (ground * _LUMINANCE).sum(1, keepdims=True), 1.0)
    ink = 1.0 - 0.35 * unit[:, 4:5] * (1.0 - _hue(unit[:, 3]))
    return _to_bytes(ground), _to_bytes(ink)


def _hue(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pure colours (N, 3) around the colour wheel for `turn` in [0, 1)."""
    position = (turn[:, None] * 6.0 + np.array([0.0, 4.0, 2.0])) % 6.0
    pure: NDArray[np.float64] = np.clip(np.abs(position - 3.0) - 1.0, 0.0, 1.0)
    return pure


def _to_bytes(colour: NDArray[np.float64]) -> Bytes:
    numbers: Bytes = np.floor(colour * 255.0 + 0.5).astype(np.uint8)
    return numbers


def _distractor_places(size: int, digit: int, small: int, places: Ints, header: Words) -> Ints:
    """(N, 2) corners of the distractor: random, with at most half of its tile under the digit's tile."""
    count = len(header)
    tries = below(header[:, _SMALL : _SMALL + 2 * _TRIES], size - small + 1).reshape(count, _TRIES, 2)
    # After all tries: the corner of the canvas that is farthest from the digit, which is always free.
    corner = np.where(places >= size - digit - places, 0, size - small)
    tries = np.concatenate([tries, corner[:, None]], axis=1)
    low = np.maximum(tries, places[:, None])
    high = np.minimum(tries + small, places[:, None] + digit)
    hidden = np.maximum(high - low, 0).prod(2)
    good = 2 * hidden <= small * small
    chosen: Ints = tries[np.arange(count), good.argmax(1)]
    return chosen
