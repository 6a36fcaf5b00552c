"""What becomes of maps and masks when the baseline is trained to mislead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

__all__ = ["Manipulated"]


@dataclass(frozen=True, eq=False)
class Manipulated:
    """What the manipulated baseline's maps come to, and the masks of DiET tuned on it anew.

    Attributes:
        long: Values as in `Found.long`, of the manipulated baseline and of what is tuned on it.
        same: Whether the manipulated baseline has the baseline's class, scored image by scored image.
    """

    long: pl.DataFrame
    same: np.ndarray
