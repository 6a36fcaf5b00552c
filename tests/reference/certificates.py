"""Slow twins of `assay.bounds`, one image and one number at a time, from the statements in docs/certify.md with scipy and brute force."""

import math

import numpy as np
from scipy import integrate, optimize, stats

PHI, QUANTILE, DENSITY = stats.norm.cdf, stats.norm.ppf, stats.norm.pdf


def entropy(a, p):
    """Relative entropy of a coin of bias a to one of bias p."""
    return sum(x * math.log(x / y) for x, y in ((a, p), (1 - a, 1 - p)) if x > 0)


def chernoff_lower(mean, count, alpha):
    """The p below the mean with count * entropy = ln(1 / alpha)."""
    if mean <= 0:
        return 0.0
    return optimize.brentq(lambda p: count * entropy(mean, p) - math.log(1 / alpha), 1e-300, mean, xtol=1e-14)


def chernoff_upper(mean, count, alpha):
    return 1 - chernoff_lower(1 - mean, count, alpha)


def bet_lower(values, stake, alpha):
    """The m at which a gambler who stakes min(stake, 1 / m) a draw ends with 1 / alpha."""

    def excess(m):
        factors = 1 + min(stake, 1 / m) * (values - m)
        return (np.log(factors).sum() if (factors > 0).all() else -math.inf) - math.log(1 / alpha)

    low, high = 1e-12, float(np.mean(values))
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return low


def reach(low, high, distance, sigma):
    """Values that p can take at a distance, Phi^-1(p) moving by at most distance / sigma."""
    return PHI(QUANTILE(low) - distance / sigma), PHI(QUANTILE(high) + distance / sigma)


def steepest(low, high, sigma):
    """The steepest half space whose share is in [low, high], by scanning them."""
    shares = np.linspace(low, high, 2001)
    return DENSITY(QUANTILE(shares)).max() / sigma


_Z = np.linspace(0, 12, 120_001)
_SHARES = integrate.cumulative_simpson(2 * DENSITY(_Z), x=_Z, initial=0)
_BENDS = np.abs(integrate.cumulative_simpson(2 * (_Z**2 - 1) * DENSITY(_Z), x=_Z, initial=0))


def most_bent(low, high):
    """Largest |E[f (z^2 - 1)]| of a slab |z| < t, or of its complement, whose share is in [low, high], by scanning slabs."""
    shares = np.linspace(low, high, 501)
    return max(np.interp(shares, _SHARES, _BENDS).max(), np.interp(1 - shares, _SHARES, _BENDS).max())


def drift(low, high, eps, sigma, steps=40):
    """The integral of the largest bend on the way, by Simpson's rule."""
    at = np.linspace(0, eps, steps + 1)
    return integrate.simpson([most_bent(*reach(low, high, far, sigma)) for far in at], x=at) / sigma**2


def least_cosine(along, longest, moved, steps=400):
    """Least cos(v, g + d) in the plane of v = (1, 0), g and d, over a grid of all g with g_1 >= along, |g| <= longest, and |d| <= moved."""
    lengths = np.linspace(along, longest, 12)[:, None, None, None]
    first = along + (lengths - along) * np.linspace(0, 1, 6)[:, None, None]
    second = np.sqrt(np.maximum(lengths**2 - first**2, 0))
    turns = np.linspace(0, 2 * math.pi, 2 * steps)[:, None]
    size = moved * np.linspace(0, 1, 5)
    one, two = first + size * np.cos(turns), second + size * np.sin(turns)
    return float((one / np.hypot(one, two)).min())


def gradient_certificate(copies, draws, sigma, eps, confidence, antithetic):
    """p's bounds, the longest gradient, its norm's bound; drift, cosine and seen at each radius.

    Args:
        copies: (n,) f at the map's noisy copies, in the order in which they were drawn.
        draws: (k, 2) f at x + u and at x - u, u of Rayleigh length along the map.
    """
    error = 1 - confidence
    pairs = np.square(copies[0::2] - copies[1::2]).mean()
    independent = len(copies) // 2 if antithetic else len(copies)
    low, high = (side(copies.mean(), independent, error / 8) for side in (chernoff_lower, chernoff_upper))
    # Antithetic: the odd part (f(u) - f(-u)) / 2, squared. Independent: the variance is half the mean square of a difference.
    square = (lambda mean: mean / 4) if antithetic else (lambda mean: mean / 2)
    longest = min(math.sqrt(square(chernoff_upper(pairs, len(copies) // 2, error / 4))) / sigma, steepest(low, high, sigma))
    odd = (draws[:, 0] - draws[:, 1]) / 2
    stake = math.sqrt(2 * math.log(2 / error) / (len(odd) * square(pairs)))
    norm = max(0.0, (bet_lower(odd + 0.5, stake, error / 2) - 0.5) * math.sqrt(2 / math.pi) / sigma)
    rows = []
    for radius in eps:
        moved = drift(low, high, radius, sigma) if radius else 0.0
        some = moved < norm
        rows.append((moved, math.sqrt(1 - (moved / norm) ** 2) if some else -1.0, least_cosine(norm, longest, moved) if some else -1.0))
    return {"low": low, "high": high, "longest": longest, "norm": norm, "rows": rows}


def votes_certificate(votes, top, draws, sigma, eps, confidence):
    """Overlap, cosine, seen and pixels of one image's frequencies (P,), pixel by pixel and exchange by exchange."""
    error = (1 - confidence) / 2
    low = np.array([chernoff_lower(vote, draws, error / (2 * len(votes))) for vote in votes])
    high = np.array([chernoff_upper(vote, draws, error / (2 * len(votes))) for vote in votes])
    low, high = (reach(one, one, eps, sigma)[side] for side, one in enumerate((low, high)))
    order = np.argsort(-votes, kind="stable")
    inside, outside = low[order[:top]], high[order[top:]]
    kept = top
    for lost in range(min(top, len(outside)), 0, -1):
        if np.sort(outside)[::-1][lost - 1] >= np.sort(inside)[lost - 1]:
            kept = top - lost
            break
    away = math.sqrt(top / draws) * (1 + math.sqrt(math.log(1 / error)))
    size = math.sqrt(float(votes @ votes))
    apart = math.sqrt(2 * top) * (PHI(eps / (2 * sigma)) - PHI(-eps / (2 * sigma)))

    def within(distance, length):
        return math.cos(math.asin(distance / length)) if length > 0 and distance < length else 0.0

    pixels = [1 if one > 0.5 else -1 if other < 0.5 else 0 for one, other in zip(low, high, strict=True)]
    return {
        "overlap": kept / top,
        "norm": max(0.0, size - away),
        "cosine": within(apart, size - away),
        "seen": within(apart + away, size),
        "pixels": pixels,
    }
