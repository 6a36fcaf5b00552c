"""Certificate of the Gaussian-smoothed gradient of a class probability (SmoothGrad without Monte-Carlo error)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay.bounds.certificate import Certificate
from assay.bounds.concentration import bet_lower, growth, mean_lower, mean_upper
from assay.bounds.curvature import drift, steepest
from assay.core import noise
from assay.core.inputs import check_finite
from assay.explain.kernels import Gaussian, draw
from assay.explain.smooth import Smoothed
from assay.measure.base import pairs_of
from assay.models.case import Case
from assay.models.passes import gradients, scores, segment_sum

__all__ = ["certify_gradient"]

_TILT = math.sqrt(2 / math.pi)
"""The mean of |z|, z standard normal."""
_FARTHEST, _HALVINGS = 16.0, 60


def certify_gradient(case: Case, smoothing: Smoothed, radii: tuple[float, ...], confidence: float, samples: int) -> Certificate:
    """Bounds for g = grad(f * N(0, sigma^2 I)), f the target's probability.

    1. The seen map m comes with the probabilities of its copies, which bound p = (f * N)(x) (Chernoff) and, by Bessel's inequality for
       the linear Hermite functions, |g| <= sd(f(x + u)) / sigma; of antithetic copies the odd part of f alone counts.
    2. With v = m / |m|, which other noise has chosen, `|g| >= v'g = sqrt(2 / pi) / sigma E[h]` with `h = (f(x + u) - f(x - u)) / 2` and
       u normal across v and of Rayleigh length along it: h is in [-1/2, 1/2], so E[h] is bounded from below without more ado (`bet_lower`).
    3. |g(x) - g(y)| <= r = `drift(eps)`, so if r < |g(x)| the angle between them is at most arcsin(r / |g(x)|). With a <= v'g(x) and
       |g(x)| <= b, m is within arccos(a / |g(x)|) of g(x), so within the sum of both of g(y), which for r <= a is largest at |g(x)| = b.

    The chance of error is spent by halves on 2, and a quarter each on the two sides of p and on |g| in 1.
    """
    sigma, alpha = smoothing.kernel.spread, (1 - confidence) / 4
    maps, values = _explain(case, smoothing)
    check_finite(values, "the probability of noisy copies")
    check_finite(maps, "the smoothed gradient")
    pairs = (values[:, 0::2] - values[:, 1::2]).square().mean(1)
    count = values.shape[1] // 2 if smoothing.antithetic else values.shape[1]
    low, high = mean_lower(values.mean(1), count, alpha / 2), mean_upper(values.mean(1), count, alpha / 2)
    # The odd part's square is a quarter of a pair's; the variance is half the square of two independent copies' difference.
    share = 0.25 if smoothing.antithetic else 0.5
    longest = torch.minimum((share * mean_upper(pairs, values.shape[1] // 2, alpha)).sqrt() / sigma, steepest(low, high, sigma))

    moves = check_finite(_moves(case, sigma, maps, samples), "the probability of noisy copies") + 0.5
    stake = (2 * math.log(1 / (2 * alpha)) / (samples // 2 * share * pairs)).sqrt()
    norm = ((bet_lower(moves, stake, 2 * alpha) - 0.5) * _TILT / sigma).clamp(min=0)
    norm = norm.masked_fill((maps == 0).flatten(1).all(1), 0.0)

    eps = torch.tensor(radii, dtype=torch.float64, device=case.images.device)[:, None]
    moved = drift(low, high, eps, sigma)
    ratio = moved / norm.masked_fill(norm == 0, 1.0)
    some = moved < norm
    return Certificate(
        smoothing=smoothing,
        eps=radii,
        confidence=confidence,
        maps=maps,
        cosine=torch.where(some, (1 - ratio.square()).clamp(min=0).sqrt(), -1.0),
        seen=torch.where(some, _aligned(norm, longest, moved), -1.0),
        overlap=torch.zeros_like(moved),
        pixels=torch.zeros(len(eps), len(case.images), *case.images.shape[2:], dtype=torch.int8, device=case.images.device),
        norm=norm,
        radius=_radius(low, high, norm, sigma),
        samples=values.shape[1] + samples,
        needed=torch.stack([_needed(moves, row, alpha, sigma) for row in moved]) + values.shape[1],
    )


def _explain(case: Case, smoothing: Smoothed) -> tuple[Tensor, Tensor]:
    """What `smoothing` gives, bit by bit but for the chunks, and the probabilities (N, copies) that it sees on the way."""
    images, count, shape = case.images, smoothing.count, tuple(case.images.shape[1:])
    rows = pairs_of(len(images), count, images.device)
    sums, values = torch.zeros_like(images), torch.empty(len(rows), dtype=torch.float64, device=images.device)

    def make(start: int, stop: int) -> Tensor:
        here = rows[start:stop]
        sample = torch.arange(start, stop, device=images.device) % count
        return images[here] + draw(smoothing.kernel, case.seed, "Smoothed", case.index[here], sample, shape, smoothing.antithetic)

    def take(start: int, stop: int, found: Tensor, slopes: Tensor) -> None:
        values[start:stop] = found.double()
        segment_sum(sums, rows[start:stop], torch.ones(stop - start, device=images.device), slopes)

    gradients(case.model, case.targets, rows, images.shape[1:], make, take)
    return sums / count, values.view(-1, count)


def _moves(case: Case, sigma: float, maps: Tensor, samples: int) -> Tensor:
    """H (N, samples / 2) along the maps' directions, float64."""
    images, shape = case.images, tuple(case.images.shape[1:])
    rows = pairs_of(len(images), samples, images.device)
    flat = maps.flatten(1) / maps.abs().flatten(1).amax(1, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    ways = flat / flat.norm(dim=1, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)

    def make(start: int, stop: int) -> Tensor:
        here = rows[start:stop]
        sample = torch.arange(start, stop, device=images.device) % samples
        step = draw(Gaussian(1.0), case.seed, "certify", case.index[here], sample, shape, antithetic=True).flatten(1)
        lengths = (-2 * noise.uniform(case.seed, "certify.length", case.index[here], sample // 2, (1,)).log()).sqrt()
        along = (1 - 2 * (sample % 2))[:, None] * lengths - (step * ways[here]).sum(1, keepdim=True)
        return torch.add(images[here], (step + along * ways[here]).view(-1, *shape), alpha=sigma)

    found = scores(case.model, case.targets, rows, images.shape[1:], make, "probability").double().view(len(images), -1, 2)
    return (found[:, :, 0] - found[:, :, 1]) / 2


def _aligned(along: Tensor, longest: Tensor, moved: Tensor) -> Tensor:
    """cos(arccos(along / longest) + arcsin(moved / longest)): least cos(v, g + d), v'g >= along, |g| <= longest, |d| <= moved <= along."""
    longest = torch.maximum(longest, along).clamp(min=torch.finfo(along.dtype).tiny)
    cosine, sine = along / longest, moved / longest
    found: Tensor = cosine * (1 - sine.square()).clamp(min=0).sqrt() - sine * (1 - cosine.square()).sqrt()
    return found


def _radius(low: Tensor, high: Tensor, norm: Tensor, sigma: float) -> Tensor:
    """Largest radius (N,) at which the gradient cannot vanish, from below."""
    near, far = torch.zeros_like(norm), torch.full_like(norm, _FARTHEST * sigma)
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        some = drift(low, high, middle, sigma) < norm
        near, far = torch.where(some, middle, near), torch.where(some, far, middle)
    return near


def _needed(moves: Tensor, moved: Tensor, alpha: float, sigma: float) -> Tensor:
    """Copies (N,) after which draws like `moves` would rule out a norm of `moved` (N,)."""
    speed = growth(moves, 0.5 + moved * sigma / _TILT)
    return torch.where(speed > 0, 2 * (math.log(1 / (2 * alpha)) / speed.clamp(min=1e-300)).ceil(), torch.inf)
