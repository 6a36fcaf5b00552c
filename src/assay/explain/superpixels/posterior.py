"""Shapley values with their error: a Gaussian process over coalitions beside weighted least squares, from the same passes.

Coalitions come in pairs with their complements, which splits the score into an odd half, all that Shapley values depend on, and an even
one: two small Cholesky factors take the place of a large one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from assay.errors import SpecError
from assay.explain.superpixels.coalitions import Coalitions, centred, least_squares, own, stamps

__all__ = ["Estimator", "Posterior", "infer", "spread"]

Estimator = Literal["auto", "process", "regression"]

_GRID = (0.05, 0.15, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 30.0)
"""rho n / (1 - rho) of the kernels: about twice the variance of pairwise over that of single effects."""
_PRIORS = (
    *(((1.0, step),) for step in _GRID),
    *(((1 - share, few), (share, many)) for share in (0.2, 0.5, 0.8) for few in (0.15, 0.8, 3.0) for many in (12.0, 30.0)),
)
"""The priors that are weighed, as shares of kernels: each alone, and ones of few interactions beside ones of many."""
_NUGGET = 1e-6
_ELEMENTS = 1 << 20
"""Numbers in one batch of covariance matrices."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Shapley values of superpixels, and how far off they may be.

    Args:
        labels: (N, H, W) int64, the superpixel of each pixel.
        counts: (N,) int64, numbers of superpixels; columns past an image's own are 0 below.
        mean: (N, n) float32, Shapley values in units of the score.
        deviation: (N, n) float32, standard deviations of their errors; 0 where every coalition was run, infinite where the passes leave
            nothing to judge a least squares fit by.
        passes: (N,) int64, coalitions run for each image, empty and full included.
    """

    labels: Tensor
    counts: Tensor
    mean: Tensor
    deviation: Tensor
    passes: Tensor

    @cached_property
    def maps(self) -> Tensor:
        """(N, 1, H, W) each pixel's mean."""
        return spread(self.mean, self.labels)

    @cached_property
    def error(self) -> Tensor:
        """(N,) the expected relative error: root of the summed variances over the norm of the means."""
        size, far = (part.double().norm(dim=1) for part in (self.mean, self.deviation))
        return torch.where(far > 0, far / size, 0.0)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Lower and upper ends (N, n) of the central intervals that hold each value with probability `level`.

        Raises:
            SpecError: The level is not inside (0, 1).
        """
        if not 0 < level < 1:
            raise SpecError(f"the level of an interval must be inside (0, 1), not {level!r}")
        reach = NormalDist().inv_cdf((1 + level) / 2) * self.deviation
        return self.mean - reach, self.mean + reach

    def distinct(self, level: float = 0.95) -> Tensor:
        """(N, n) bool: whether the interval leaves out 0."""
        low, high = self.interval(level)
        return (low > 0) | (high < 0)


def spread(values: Tensor, labels: Tensor) -> Tensor:
    """Every pixel's superpixel's value: (N, 1, H, W) from (N, n) and labels (N, H, W)."""
    return values.gather(1, labels.flatten(1)).view(len(labels), 1, *labels.shape[1:])


class _Halves(NamedTuple):
    """M pairs of coalitions for each image, the first that of full and empty.

    Attributes:
        members: (N, M, n) bool, each pair's coalition with the first superpixel.
        odd: (N, M) half the difference of the pair's scores.
        even: (N, M) half their sum.
        weights: (N, M) the pair's weight in a fit; 0 for the first.
        used: (N, M) bool, False for rows past an image's own.
    """

    members: Tensor
    odd: Tensor
    even: Tensor
    weights: Tensor
    used: Tensor


def infer(
    estimator: Estimator, paired: bool, drawn: Coalitions, values: Tensor, empty: Tensor, full: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Means and deviations (N, n) of Shapley values; the means sum to `full - empty` and are differentiable in the scores.

    Args:
        estimator: "process", "regression", or "auto" for the process but where the regression's squared held-out error is less than half
            of its own, image by image. An image all of whose coalitions were run gets exact values whichever it is.
        paired: Whether the coalitions come in complementary pairs, which everything but "regression" needs.
        drawn: Coalitions, no two of an image's equal.
        values: (N, S) their scores.
        empty: (N,) scores with no superpixel.
        full: (N,) scores with all.
        counts: (N,) numbers of superpixels.
    """
    values, empty, full = values.double(), empty.double(), full.double()
    gap = full - empty
    share = own(drawn.members, counts) * (gap / counts)[:, None]
    if paired:
        halves = _halve(drawn, values, empty, full, counts)
        x = centred(halves.members, counts)[:, 1:]
        expected = gap[:, None] * (halves.members.sum(2) / counts[:, None] - 0.5)
        y, weights = (halves.odd - expected)[:, 1:] * halves.used[:, 1:], halves.weights[:, 1:]
    else:
        x, weights = centred(drawn.members, counts), drawn.weights
        y = values - empty[:, None] - gap[:, None] * drawn.members.sum(2) / counts[:, None]
    fit = least_squares(x, y, weights, counts - 1)
    mean, deviation = share + fit.coefficients, fit.deviation
    exact = (drawn.weights > 0).sum(1) >= torch.pow(2.0, counts.double()) - 2
    smoothed = (~exact).nonzero().flatten()
    if paired and estimator != "regression" and len(smoothed):
        size = max(1, _ELEMENTS * len(counts) // len(_PRIORS) // _numbers(halves))
        parts = [_process(_Halves(*(part[rows] for part in halves)), counts[rows]) for rows in smoothed.split(size)]
        smooth, far, held = (torch.cat(part) for part in zip(*parts, strict=True))
        if estimator == "auto":
            # Both predict the odd halves, so their held-out errors compare; the weights are those of the fit's own loss. Which of two is
            # a little smaller is chance, and where it was the regression's, its values were the worse ones.
            errors = [(weights[smoothed] * off.detach() ** 2).sum(1) for off in (held, fit.left_out[smoothed])]
            better = errors[0] <= 2 * errors[1]
            smoothed, smooth, far = smoothed[better], smooth[better], far[better]
        mean, deviation = mean.index_copy(0, smoothed, smooth), deviation.index_copy(0, smoothed, far)
    return mean.float(), torch.where(exact[:, None], 0.0, deviation).float()


def _halve(drawn: Coalitions, values: Tensor, empty: Tensor, full: Tensor, counts: Tensor) -> _Halves:
    """The pairs that coalitions and their scores make."""
    members, run = drawn.members, drawn.weights > 0
    whole = own(members, counts)[:, None]
    marks, first, most = stamps(members), members[:, :, 0], members.shape[1] // 2

    def order(chosen: Tensor, keys: Tensor) -> Tensor:
        by_key = keys.argsort(1)
        return by_key.gather(1, (~chosen).gather(1, by_key).byte().argsort(dim=1, stable=True))[:, :most]

    # The marks of a coalition and its complement sum to that of all superpixels, so both orders meet pair by pair.
    one, other = order(run & first, marks), order(run & ~first, stamps(whole) - marks)
    used = torch.arange(most, device=run.device) < (run & first).sum(1, keepdim=True)
    a, b = (torch.where(used, values.gather(1, rows), 0.0) for rows in (one, other))
    rows = members.gather(1, one[:, :, None].expand(-1, -1, members.shape[2]))
    a, b = torch.cat([full[:, None], a], 1), torch.cat([empty[:, None], b], 1)
    weights = torch.where(used, drawn.weights.gather(1, one), 0.0)
    ahead = torch.nn.functional.pad
    return _Halves(torch.cat([whole, rows], 1), (a - b) / 2, (a + b) / 2, ahead(weights, (1, 0)), ahead(used, (1, 0), value=True))


def _numbers(halves: _Halves) -> int:
    """Numbers in the largest matrices of one prior."""
    return halves.used.numel() * max(halves.members.shape[1:])


def _process(halves: _Halves, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means and deviations (N, n) under the process, averaged over its priors, and errors (N, M - 1) at pairs left out.

    The prior covariance of scores is a mean of kernels `prod_j (1 + rho s_j t_j)` times an unknown scale, about an unknown constant. By
    one kernel at a time intervals are too narrow where strong single effects and interactions of many superpixels come together.
    A prior weighs by the geometric mean of its likelihood and of how likely it makes pairs left out, each by its weight in a fit: by the
    likelihood alone more passes made errors larger on the Hard Digits network, whose scores are not of the prior's kind.
    """
    sizes, place = halves.members.sum(2).unique(return_inverse=True)
    priors = _priors(counts, sizes, halves.members.shape[2])
    group = max(1, _ELEMENTS // _numbers(halves))
    parts = [_condition(halves, counts, place, _Priors(*part)) for part in zip(*(each.split(group) for each in priors), strict=True)]
    evidence, mean, variance, errors = (torch.cat(part) for part in zip(*parts, strict=True))
    share = evidence.softmax(0)[:, :, None]
    middle = (share * mean).sum(0)
    deviation = (share * (variance + (mean - middle) ** 2)).sum(0).sqrt()
    return middle, deviation, (share * errors).sum(0)


class _Priors(NamedTuple):
    """K prior covariances for each of N images, over the variance of a score.

    Attributes:
        odd: (K, N, n + 1) of the odd halves of coalitions, by the superpixels in which these differ.
        even: (K, N, n + 1) of the even halves.
        value: (K, N, 2, S) of a Shapley value with the score of a coalition that holds the superpixel, and that does not, by its size.
        variance: (K, N) of one Shapley value.
    """

    odd: Tensor
    even: Tensor
    value: Tensor
    variance: Tensor


def _priors(counts: Tensor, sizes: Tensor, widest: int) -> _Priors:
    """All priors, for images with `counts` (N,) superpixels, at most `widest`, and coalitions of `sizes` (S,)."""
    steps = sorted({step for prior in _PRIORS for _, step in prior})
    shares = counts.new_tensor(
        [[{of: share for share, of in prior}.get(step, 0.0) for step in steps] for prior in _PRIORS], dtype=torch.float64
    )
    n = counts.double()
    rho = counts.new_tensor(steps, dtype=torch.float64)[:, None]
    rho = rho / (n + rho)
    differ = torch.arange(widest + 1, device=counts.device)
    slope = torch.log1p(-2 * rho / (1 + rho))[:, :, None]
    near, far = (torch.exp(by * slope) for by in (differ, (n[:, None] - differ).clamp_min(0)))
    kernels = _Priors((near - far) / 2, (near + far) / 2, *_functional(counts, rho, sizes, widest))
    return _Priors(*(torch.tensordot(shares, part, 1) for part in kernels))


def _condition(halves: _Halves, counts: Tensor, place: Tensor, priors: _Priors) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Under each of K priors: evidence (K, N), means and variances (K, N, n), and errors (K, N, M - 1) at pairs left out.

    `place` (N, M) says where in `priors.value` each coalition's size is.
    """
    members, used, n = halves.members, halves.used, counts.double()
    mine = own(members, counts)
    signs = (2.0 * members - 1) * mine[:, None]
    apart = ((n[:, None, None] - signs @ signs.transpose(1, 2)) / 2).long().flatten(1)
    odd, even = (_factor(part.gather(2, apart.expand(len(part), -1, -1)).unflatten(2, (used.shape[1], -1)), used) for part in priors[:2])
    ones = used.double()
    points = ones.sum(1)
    # About the first, so that an even half that never moves is 0 to the bit.
    moved = (halves.even - halves.even[:, :1]) * ones
    level, e = torch.linalg.solve_triangular(even, torch.stack([ones, moved], 2).expand(len(even), -1, -1, -1), upper=False).unbind(3)
    weight = level.square().sum(2)
    shift = (level * e).sum(2) / weight
    inverse = torch.linalg.solve_triangular(odd, torch.diag_embed(ones).expand_as(odd), upper=False)
    y = inverse @ halves.odd[:, :, None]
    solved = (inverse.transpose(2, 3) @ y)[..., 0]
    squares = (y.square().sum((2, 3)) + (e - shift[:, :, None] * level).square().sum(2)).clamp_min(1e-200)
    roots = sum(part.diagonal(dim1=2, dim2=3).log().sum(2) for part in (odd, even))
    free = 2 * points - 1
    likelihood = -free / 2 * squares.log() - roots - weight.log() / 2
    inside, outside = (priors.value[:, :, at].gather(2, place.expand(len(odd), -1, -1)) for at in (0, 1))
    cross = torch.where(members, inside[..., None], outside[..., None])
    mean = (solved[:, :, None] @ cross)[:, :, 0] * mine
    mean = (mean + (2 * halves.odd[:, :1] - mean.sum(2, keepdim=True)) / n[:, None]) * mine
    precision = torch.where(used, inverse.square().sum(2), 1.0)
    left_out = solved / precision
    held = (halves.weights * left_out**2).sum(2).clamp_min(1e-200)
    evidence = (likelihood - (points - 1) / 2 * held.log()) / 2
    # Where pairs left out are missed by more than the scale says, the scale gives way.
    missed = (left_out**2 * precision)[..., 1:].sum(2) / (points - 1).clamp_min(1)
    scale = torch.maximum(squares / (free - 2).clamp_min(1), missed)
    variance = (priors.variance[:, :, None] - (inverse @ cross).square().sum(2)).clamp_min(0) * mine * scale[:, :, None]
    return evidence, mean, variance, left_out[..., 1:]


def _factor(covariance: Tensor, used: Tensor) -> Tensor:
    """Cholesky factors of covariances (K, N, M, M), a nugget on all points but the first, points that are not `used` (N, M) cut off."""
    diagonal = covariance.diagonal(dim1=2, dim2=3)
    nugget = _NUGGET * diagonal
    nugget[..., 0] *= 1e-6
    matrix = torch.where(used[:, :, None] & used[:, None], covariance, 0.0)
    matrix.diagonal(dim1=2, dim2=3).add_(torch.where(used, nugget, 1.0))
    factor: Tensor = torch.linalg.cholesky(matrix)
    return factor


@lru_cache(maxsize=64)
def _nodes(widest: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in (-1, 1) and weights of a quadrature that is exact for polynomials of degree `widest` - 1."""
    return np.polynomial.legendre.leggauss(widest // 2 + 1)


def _functional(counts: Tensor, rho: Tensor, sizes: Tensor, widest: int) -> tuple[Tensor, Tensor]:
    """Under the kernels of `rho` (K, N), `_Priors.value` at coalitions of `sizes` (S,), and `_Priors.variance`.

    `cov(phi_i, f(t)) = rho t_i int_0^1 prod_{j != i} (1 + rho u t_j) + prod_{j != i} (1 - rho u t_j) du`,
    `var phi_i = 4 sum over odd k of C(n - 1, k - 1) rho^k / k^2`.
    """
    places, shares = (torch.from_numpy(part).to(rho.device) for part in _nodes(widest))
    present, n, by = sizes[:, None], counts[:, None, None].double(), rho[:, :, None, None]
    plus, minus = (torch.log1p(sign * by * (places + 1) / 2) for sign in (1, -1))
    norm = n * torch.log1p(by)

    def integral(inside: Tensor, outside: Tensor) -> Tensor:
        # Sizes that an image's coalitions do not have are never read.
        inside, outside = inside.clamp_min(0), outside.clamp_min(0)
        one, other = (torch.exp(inside * a + outside * b - norm) for a, b in ((plus, minus), (minus, plus)))
        return ((one + other) * shares / 2).sum(3) * rho[:, :, None]

    value = torch.stack([integral(present - 1, n - present), -integral(present, n - present - 1)], 2)
    order = torch.arange(1, widest + 1, 2, dtype=torch.float64, device=rho.device)
    n, by = counts[:, None].double(), rho[:, :, None]
    terms = torch.lgamma(n) - torch.lgamma(order) - torch.lgamma((n - order + 1).clamp_min(1))
    terms = terms + order * by.log() - 2 * order.log() - n * torch.log1p(by)
    return value, 4 * torch.where(order <= n, terms.exp(), 0.0).sum(2)
