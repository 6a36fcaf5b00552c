"""The border of a mask as a vector path along pixel edges, sharp at any size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import ShapeError

__all__ = ["edges", "outline_path"]

Edge = tuple[int, int, int]


def edges(mask: Tensor) -> tuple[list[Edge], list[Edge]]:
    """Borders between set and unset pixels (outside the picture counts as unset), joined into straight runs.

    Args:
        mask: (H, W) bool.

    Returns:
        Horizontal runs (y, x from, x to) and vertical runs (x, y from, y to), in pixel edges: 0..H and 0..W.

    Raises:
        ShapeError: The mask is not (H, W).
    """
    if mask.ndim != 2:
        raise ShapeError(f"a mask to outline must be (H, W), not {tuple(mask.shape)}")
    framed = np.pad(mask.detach().cpu().numpy().astype(bool), 1)
    across = framed[1:, 1:-1] != framed[:-1, 1:-1]
    along = framed[1:-1, 1:] != framed[1:-1, :-1]
    return _runs(across), _runs(along.T)


def outline_path(mask: Tensor) -> str:
    """The border of a (H, W) bool mask as SVG path data in pixel units; empty for an empty mask."""
    across, along = edges(mask)
    return "".join([f"M{a} {y}H{b}" for y, a, b in across] + [f"M{x} {a}V{b}" for x, a, b in along])


def _runs(lines: NDArray[np.bool_]) -> list[Edge]:
    padded = np.pad(lines.astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return [(int(row), int(start), int(end)) for row, start, end in zip(rows, starts, ends, strict=True)]
