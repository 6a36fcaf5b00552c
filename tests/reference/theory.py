"""The paper's bounds as numbers, the functions that reach them, and its toy example in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor

__all__ = ["BOUNDS", "Bound", "Stripes", "smoothed_slope", "stripes_gradient"]

_NODES = 200_001
"""Points of the integral of a smoothed function's slope."""


@dataclass(frozen=True)
class Bound:
    """A printed bound, the sharp one, and the function that reaches it.

    Attributes:
        where: Theorem of the paper.
        printed: What is said of which functions.
        constant: The printed constant at sigma, or r, and R or L equal to 1.
        sharp: The smallest constant that holds.
        reached_by: The function that reaches it, in words.
        steepest: Its slope after the smoothing, computed.
        note: Whether the printed constant holds.
    """

    where: str
    printed: str
    constant: float
    sharp: float
    reached_by: str
    steepest: float
    note: str


def smoothed_slope(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], at: float = 0.0, sigma: float = 1.0) -> float:
    """Slope at a point of a function of one number after Gaussian smoothing, by quadrature of `E[f(x + sigma z) z] / sigma`."""
    z = np.linspace(-12, 12, _NODES)
    return float(np.trapezoid(function(at + sigma * z) * z * stats.norm.pdf(z), z) / sigma)


def _steepest_of_box(values: int) -> float:
    """Slope of the probability that uniform noise on [-1, 1]^d leaves its box when it is shifted along the diagonal."""
    size = 1e-6
    return (1 - (1 - size / math.sqrt(values) / 2) ** values) / size


_SQUARE, _SMALL = 100, 1e-6
BOUNDS = (
    Bound(
        "Prop. 4.2",
        "f * N(0, sigma^2) is R / (2 sigma)-Lipschitz for |f| <= R",
        0.5,
        2 * float(stats.norm.pdf(0)),
        "R sign(x)",
        smoothed_slope(np.sign),
        "does not hold: R sign(x) is steeper. It holds for 0 <= f <= R, where 0.399 R / sigma is sharp",
    ),
    Bound(
        "Prop. 4.2, for f in [0, R]",
        "the same constant",
        0.5,
        float(stats.norm.pdf(0)),
        "R [x > 0]",
        smoothed_slope(lambda x: (x > 0).astype(float)),
        "holds, not sharp",
    ),
    Bound(
        "Prop. 4.2",
        "f * N(0, sigma^2) is L-Lipschitz for L-Lipschitz f",
        1.0,
        1.0,
        "L x",
        smoothed_slope(lambda x: x),
        "holds, sharp",
    ),
    Bound(
        "Thm 4.3, uniform noise on [-r, r]^d, d = 100",
        "R sqrt(d) / r for |f| <= R",
        math.sqrt(_SQUARE),
        2 * math.sqrt(_SQUARE) / 2,
        "2 R [x leaves the box] - R, along a diagonal",
        2 * _steepest_of_box(_SQUARE),
        "holds, sharp, where d_TV is the L1 distance of densities; as the largest difference of probabilities gamma is sqrt(d) / (2 r), "
        "and the bound 2 R gamma",
    ),
    Bound(
        "Thm 4.1, SmoothGrad",
        "sqrt(2 / pi) L / sigma for L-Lipschitz f",
        math.sqrt(2 / math.pi),
        2 * float(stats.norm.pdf(0)),
        "L |x|, whose gradient is L sign(x)",
        smoothed_slope(np.sign),
        "holds, sharp",
    ),
    Bound(
        "Thm 4.1, Gradient x Input",
        "beta H + L for |x| <= beta",
        2.0,
        2.0,
        "H x^2 / 2 at x = beta, where L = H beta",
        ((1 + _SMALL) ** 2 - 1) / _SMALL,
        "holds, sharp: the map is H x^2, its slope 2 H beta",
    ),
)
"""At sigma, r, R, L, H and beta equal to 1."""


class Stripes(torch.nn.Module):
    """The paper's toy (Eq. 2) as a network of images (N, 1, 1, 2): class 0 is f, class 1 is 0.

    `f = x1 - n D` where `floor(|x1 - x2| / D) = 2 n`, and `x2 + n D` where it is `2 n - 1`: its gradient is (1, 0) or (0, 1) on stripes.

    Args:
        width: D.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        self.width = width

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 2)."""
        one, other = images.flatten(1).unbind(1)
        stripe = torch.floor((one - other).detach().abs() / self.width)
        even = stripe % 2 == 0
        value = torch.where(even, one - stripe / 2 * self.width, other + (stripe + 1) / 2 * self.width)
        return torch.stack([value, torch.zeros_like(value)], 1)


def stripes_gradient(difference: ArrayLike, sigma: float, width: float, terms: int = 200) -> NDArray[np.float64]:
    """The smoothed gradient (..., 2) of `Stripes` where `x1 - x2` is many sigma above 0: (p, 1 - p).

    p is how often noise lands on even stripes,
    `p = 1/2 + sum over odd k of 2 / (pi k) sin(pi k d / D) exp(-(pi k sigma / D)^2)`, as `x1 - x2` gets noise of variance `2 sigma^2`:
    it tends to 1/2 as sigma grows.

    Args:
        difference: d = x1 - x2.
        sigma: Of the Gaussian noise on each coordinate.
        width: D.
        terms: Terms of the series.
    """
    d = np.asarray(difference, float)[..., None]
    k = np.arange(1, 2 * terms, 2)
    p = 0.5 + (2 / (np.pi * k) * np.sin(np.pi * k * d / width) * np.exp(-((np.pi * k * sigma / width) ** 2))).sum(-1)
    return np.stack([p, 1 - p], -1)
