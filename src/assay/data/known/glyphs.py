"""The handwritten digits behind Hard Digits: their fixed split and their smooth rendering at any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from assay.core.noise import derive

__all__ = ["SPLITS", "Sources", "render_glyph", "source_digits", "sources"]

SPLITS = {"test": 400, "val": 200, "train": 1197}
"""How many of the 1797 digits each split owns."""

_MARGIN = 1  # Empty source pixels around the 8 x 8 digit, which otherwise touches the edge of its tile.
_SCALE = 2**12  # Weights are whole numbers over this, so that sums are exact and the same on every machine.
_LEVEL = 0.42  # Ink above which a point lies inside the stroke; fills no holes and breaks few thin strokes.
_GAIN = 1.8  # Contrast at the edge of a stroke per pixel of the tile that a source pixel covers.
_MOST_GAIN = 8.0  # Large tiles keep soft edges: faint strokes would be lost in a hard cut.


@dataclass(frozen=True, eq=False)
class Sources:
    """The source digits of one split, sorted by class.

    Attributes:
        number: (M,) int64, positions among the 1797 digits.
        label: (M,) int64, ascending.
        start: (11,) int64, where each class begins; the last entry is M.
    """

    number: NDArray[np.int64]
    label: NDArray[np.int64]
    start: NDArray[np.int64]


@lru_cache(maxsize=1)
def source_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """1797 digits, the test part of "Optical Recognition of Handwritten Digits": images (1797, 8, 8), ink 0 to 16; labels (1797,).

    Source: E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998 (CC BY 4.0), in scikit-learn's order.
    """
    with (files("assay.data.known") / "digits.npz").open("rb") as file, np.load(file) as arrays:
        return arrays["images"], arrays["labels"].astype(np.int64)


@lru_cache(maxsize=len(SPLITS))
def sources(split: str) -> Sources:
    """The digits that `split` owns; the splits are disjoint, stratified by class and the same for every seed."""
    _, labels = source_digits()
    shuffled = np.argsort(np.random.Philox(key=derive(0, "hard-digits splits")).random_raw(len(labels)), kind="stable")
    # Each digit's place among its class, as a fraction: cutting this order anywhere takes an equal share of every class.
    place = np.empty(len(labels))
    for label in range(10):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.argsort(place, kind="stable")
    begin = 0
    for name, count in SPLITS.items():
        if name == split:
            break
        begin += count
    own = order[begin : begin + SPLITS[split]]
    own = own[np.argsort(labels[own], kind="stable")]
    return Sources(number=own, label=labels[own], start=np.searchsorted(labels[own], np.arange(11)))


@lru_cache(maxsize=8)
def render_glyph(size: int) -> NDArray[np.uint8]:
    """All digits at `size` x `size` pixels: ink coverage (1797, size, size), 0 to 255, inside where >= 128."""
    images, _ = source_digits()
    grid = images.shape[1] + 2 * _MARGIN
    padded = np.pad(images, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN))).astype(np.float64)
    weights = _weights(size, grid)
    # Whole numbers below 2**53 in float64: exact in any order of summation.
    ink = weights @ padded @ weights.T / (16.0 * _SCALE * _SCALE)
    gain = min(_GAIN * size / grid, _MOST_GAIN)
    coverage: NDArray[np.uint8] = np.clip(np.floor((ink - _LEVEL) * gain * 255.0 + 128.0), 0, 255).astype(np.uint8)
    coverage.flags.writeable = False
    return coverage


def _weights(size: int, grid: int) -> NDArray[np.float64]:
    """(size, grid) Mitchell-Netravali interpolation weights (B = C = 1/3) as whole numbers, about `_SCALE` in sum per row."""
    centre = (np.arange(size) + 0.5) * grid / size - 0.5
    x = np.abs(centre[:, None] - np.arange(grid)[None, :])
    near = 7.0 * x * x * x - 12.0 * x * x + 16.0 / 3.0
    far = -7.0 / 3.0 * x * x * x + 12.0 * x * x - 20.0 * x + 32.0 / 3.0
    weights: NDArray[np.float64] = np.round(np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0)) / 6.0 * _SCALE)
    return weights
