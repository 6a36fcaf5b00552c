"""How fast the gradient of a Gaussian-smoothed function with values in [0, 1] can turn, and how long it can be.

Write F for f * N(0, sigma^2 I), f in [0, 1], and p for F at a point. Along a unit vector v, with z = v'u / sigma standard normal,
`sigma v'grad F = E[f z]` and `sigma^2 v'(Hessian F) v = E[f (z^2 - 1)]`. Of all f with E f = p a half space {z > t} makes the first
largest, and a slab {|z| > t} or {|z| < t} the second (the lemma of Neyman and Pearson); so both bounds are reached.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["CURVATURE", "drift", "reach", "steepest"]

CURVATURE = 2 * math.exp(-0.5) / math.sqrt(2 * math.pi)
"""2 phi(1) = 0.4839: the largest second derivative of F at sigma = 1, reached by the slab |z| < 1."""
_PEAK = math.erf(math.sqrt(0.5))
"""The p (or 1 - p), P(|z| < 1) = 0.683, at which that slab has its place."""
_STEPS = 64


def reach(low: Tensor, high: Tensor, distance: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Where p can be at most `distance` away from a point at which it is in [low, high] (Cohen, Rosenfeld, Kolter 2019, theorem 1)."""
    return torch.special.ndtr(torch.special.ndtri(low) - distance / sigma), torch.special.ndtr(torch.special.ndtri(high) + distance / sigma)


def steepest(low: Tensor, high: Tensor, sigma: float) -> Tensor:
    """Largest |grad F| where p is in [low, high]: `phi(Phi^-1(p)) / sigma` at the p nearest to 1/2."""
    nearest = torch.special.ndtri(torch.minimum(torch.maximum(low, 0.5 * torch.ones_like(low)), high))
    return torch.exp(-(nearest**2) / 2) / (math.sqrt(2 * math.pi) * sigma)


def drift(low: Tensor, high: Tensor, eps: Tensor, sigma: float) -> Tensor:
    """Largest |grad F(x) - grad F(y)| for |x - y| <= eps, where p at x is in [low, high]; at most `CURVATURE * eps / sigma^2`.

    On the way from x to y the Hessian's norm is bounded by what slabs reach at the values that p can take there, and the integral of this
    by its upper sum, the bound growing with the distance.

    Args:
        low: (N,) float64.
        high: (N,) float64.
        eps: (E, 1) or (N,) radii.
        sigma: Standard deviation of the noise.

    Returns:
        (E, N) or (N,).
    """
    total = torch.zeros_like(low * eps)
    steps = torch.arange(1, _STEPS + 1, dtype=eps.dtype, device=eps.device).view(-1, *[1] * eps.dim())
    for bend in _curvature(*reach(low, high, eps * steps / _STEPS, sigma)):
        total += bend
    return total / _STEPS * eps / sigma**2


def _curvature(low: Tensor, high: Tensor) -> Tensor:
    """Largest second derivative at sigma = 1 where p is in [low, high]: 2 t phi(t) with P(|z| < t) = max(p, 1 - p), over those p."""
    ends = torch.maximum(low, 1 - low), torch.maximum(high, 1 - high)
    least = torch.where((low <= 0.5) & (high >= 0.5), 0.5, torch.minimum(*ends))
    share = torch.minimum(least.clamp(min=_PEAK), torch.maximum(*ends))
    t = torch.special.ndtri((1 + share.clamp(max=1 - 1e-15)) / 2)
    bend: Tensor = 2 * t * torch.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
    return bend
