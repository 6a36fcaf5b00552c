"""Certificate of sparsified SmoothGrad: how often each pixel is among the top over noisy copies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay.bounds.certificate import Certificate
from assay.bounds.concentration import above, mean_lower, mean_upper
from assay.core.inputs import check_finite
from assay.explain.smooth import Smoothed
from assay.explain.sparse import Sparsified
from assay.models.case import Case

__all__ = ["certify_votes"]

_HALVINGS = 40


def certify_votes(case: Case, smoothing: Smoothed, radii: tuple[float, ...], confidence: float) -> Certificate:
    """Bounds for F(x) = E[h(x + u)], h in [0, 1] the sparsified map with K marked pixels; the seen map s is its average over n draws.

    1. Overlap. The F_j of all P pixels are bounded from both sides by Chernoff (`mean_lower`, a union bound over 2P), and Phi^-1(F_j)
       moves by at most eps / sigma (Cohen et al. 2019). If only i - 1 of the K top pixels T of s stay, then K - i + 1 pixels from outside T
       are at least as large at y as K - i + 1 of T: so at least i stay if the i-th largest lower bound in T is above the (K - i + 1)-th
       largest upper bound outside it.
    2. Cosine. h is no longer than sqrt(K) and has no negative part, so its means under two distributions are at most sqrt(2K) TV apart,
       TV = 2 Phi(eps / (2 sigma)) - 1 for the noise around x and y: |F(x) - F(y)| <= r = sqrt(2K) TV. And |s - F(x)| has mean at most
       sqrt(K / n) and exceeds it by sqrt(K ln(1/a) / n) with probability at most a (McDiarmid). A vector within r of another that is
       longer than r is within an angle of arcsin(r / length).

    3. Pixels. As Phi^-1(F_j) moves by at most eps / sigma, F_j(y) > 1/2 where F_j(x) > Phi(eps / sigma), and F_j(y) < 1/2 where
       1 - F_j(x) is above that: on the bounds of 1, whose chance of error covers it.

    The chance of error is spent by halves on 1 and 2. Antithetic copies count as one draw the pair.

    Source: Levine, Singla, Feizi 2019, arXiv 1905.12105 (1); Anani, Lorenz, Fritz, Schiele, ICML 2025 (3); 2 is this project's.
    """
    assert isinstance(smoothing.explainer, Sparsified)
    sigma, copies = smoothing.kernel.spread, 2 if smoothing.antithetic else 1
    draws, alpha = smoothing.count // copies, (1 - confidence) / 2
    maps = check_finite(smoothing.attribute(case.model, case.images, case.targets, case.index, case.seed), "the sparsified map")
    flat = maps.flatten(1).double()
    pixels = flat.shape[1]
    top = smoothing.explainer.top(pixels)
    eps = torch.tensor(radii, dtype=torch.float64, device=case.images.device)[:, None]

    order = flat.topk(min(2 * top, pixels), dim=1).values
    inside, outside = order[:, :top], order[:, top : 2 * top]
    each = alpha / (2 * pixels)
    gaps = _gaps(inside, outside, draws, each)
    overlap = (gaps > 2 * eps[..., None] / sigma).double().mean(2)

    level = torch.special.ndtr(eps / sigma)[..., None]
    inside_top, outside_top = (above(one, level, draws, each).to(torch.int8) for one in (flat, 1 - flat))

    size, error = flat.norm(dim=1), _error(top, draws, alpha)
    norm = (size - error).clamp(min=0)
    moved = math.sqrt(2 * top) * (2 * torch.special.ndtr(eps / (2 * sigma)) - 1)
    farthest = 2 * sigma * torch.special.ndtri((1 + (norm / math.sqrt(2 * top)).clamp(max=1)) / 2)
    return Certificate(
        smoothing=smoothing,
        eps=radii,
        confidence=confidence,
        maps=maps,
        cosine=_angle(moved, norm),
        seen=_angle(moved + error, size),
        overlap=overlap,
        pixels=(inside_top - outside_top).view(len(radii), len(case.images), *maps.shape[2:]),
        norm=norm,
        radius=torch.maximum(gaps.amax(1).clamp(min=0) * sigma / 2, farthest),
        samples=smoothing.count,
        needed=copies * torch.minimum(_needed_overlap(inside, outside, eps / sigma, each), _needed_cosine(size, moved, top, alpha)),
    )


def _gaps(inside: Tensor, outside: Tensor, draws: Tensor | float, alpha: float) -> Tensor:
    """By how much, in standard deviations, the i-th best of the top is ahead of the (K - i + 1)-th best outside it.

    (N, K), or (E, N, K) for draws (E, N, 1).
    """
    best = torch.special.ndtri(mean_lower(inside, draws, alpha))
    others = torch.special.ndtri(mean_upper(outside, draws, alpha))
    # Where fewer pixels are outside, nothing is left to push that many out.
    missing = inside.shape[-1] - outside.shape[-1]
    others = torch.nn.functional.pad(others, (0, missing), value=-torch.inf)
    gaps: Tensor = (best - others.flip(-1)).nan_to_num(-torch.inf, torch.inf, -torch.inf)
    return gaps


def _error(top: int, draws: int, alpha: float) -> float:
    """Distance between seen and exact map that is exceeded with probability at most `alpha`."""
    return math.sqrt(top / draws) * (1 + math.sqrt(math.log(1 / alpha)))


def _angle(moved: Tensor, size: Tensor) -> Tensor:
    """Least cosine (E, N) to a vector of length `size` of what is within `moved` of it; 0 where that can be anything."""
    ratio = moved / size.clamp(min=torch.finfo(size.dtype).tiny)
    return (1 - ratio.square()).clamp(min=0).sqrt()


def _needed_overlap(inside: Tensor, outside: Tensor, shift: Tensor, alpha: float) -> Tensor:
    """Draws (E, N) after which the top pixel alone would be certified to stay."""
    best, last = inside[:, :1], outside[:, -1:] if outside.shape[1] == inside.shape[1] else torch.zeros_like(inside[:, :1])
    low, high = torch.zeros_like(shift * best[:, 0]), torch.full_like(shift * best[:, 0], float(_HALVINGS))
    reached = torch.zeros_like(low, dtype=torch.bool)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = _gaps(best, last, (2**middle)[..., None], alpha)[..., 0] > 2 * shift
        reached |= enough
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return torch.where(reached, (2**high).ceil(), torch.inf)


def _needed_cosine(size: Tensor, moved: Tensor, top: int, alpha: float) -> Tensor:
    """Draws (E, N) after which the cosine would be certified, at this length of the seen map."""
    left = size - moved
    return torch.where(left > 0, (_error(top, 1, alpha) / left.clamp(min=1e-300)).square().ceil(), torch.inf)
