"""What n draws of a variable in [0, 1] prove about its mean, at any n; one-sided, so that errors add up by the union bound."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["above", "bet_lower", "growth", "mean_lower", "mean_upper"]

_HALVINGS = 60
_STAKES = 24


def mean_lower(mean: Tensor, count: Tensor | float, alpha: float) -> Tensor:
    """Lower bounds of means by Chernoff's bound: wrong with probability at most `alpha` each.

    For n independent draws in [0, 1] of mean p, P(average >= a) <= exp(-n kl(a, p)) for a >= p, with kl the relative entropy of two coins.
    So the p below the average with `n kl(average, p) > ln(1 / alpha)` are ruled out. Takes the average alone, so memory is flat in n.

    Args:
        mean: Averages, float64.
        count: Draws behind each.
        alpha: Chance of error.

    Source: Hoeffding 1963, theorem 1.
    """
    budget = math.log(1 / alpha) / torch.as_tensor(count, dtype=mean.dtype, device=mean.device)
    low, high = torch.zeros_like(mean * budget), mean.expand_as(mean * budget)
    own, rest = _own(mean), 1 - mean
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        out = own - torch.xlogy(mean, middle) - torch.special.xlog1py(rest, -middle) > budget
        low, high = torch.where(out, middle, low), torch.where(out, high, middle)
    return low


def mean_upper(mean: Tensor, count: Tensor | float, alpha: float) -> Tensor:
    """Upper bounds of means; see `mean_lower`."""
    return 1 - mean_lower(1 - mean, count, alpha)


def above(mean: Tensor, level: Tensor, count: float, alpha: float) -> Tensor:
    """Whether `mean_lower` is above `level`, without searching for it."""
    return (mean > level) & (count * _kl(mean, level) > math.log(1 / alpha))


def bet_lower(values: Tensor, stake: Tensor, alpha: float) -> Tensor:
    """Lower bounds (N,) of means by betting, which gain from a small variance: wrong with probability at most `alpha` each.

    If the mean is m, a gambler who wins `s (y - m)` for each unit held, s <= 1 / m, has a fair game: the expected final capital
    `prod (1 + s (y_i - m))` is 1, and it exceeds 1 / alpha with probability at most alpha (Markov). It falls as m grows, so the m at which
    it is 1 / alpha bounds the mean from below.

    Args:
        values: (N, n) independent draws in [0, 1], float64.
        stake: (N,) s, which must not depend on the draws; it is cut to 1 / m.
        alpha: Chance of error.

    Source: Waudby-Smith, Ramdas, JRSS B 2024 (betting), with one stake for all draws.
    """
    low, high = torch.zeros_like(stake), values.mean(1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        held = torch.minimum(stake, 1 / middle)
        rich = torch.log1p(held[:, None] * (values - middle[:, None])).sum(1) > math.log(1 / alpha)
        low, high = torch.where(rich, middle, low), torch.where(rich, high, middle)
    return low


def growth(values: Tensor, mean: Tensor) -> Tensor:
    """Largest mean growth (N,) of the log capital per draw in `bet_lower`, held against the means `mean` (N,); 0 where there is none.

    About ln(1 / alpha) / growth draws like these are needed to rule such a mean out.
    """
    best = torch.zeros_like(mean)
    for step in range(_STAKES):
        held = 0.999 * 2 ** (-step / 2) / mean
        best = torch.maximum(best, torch.log1p(held[:, None] * (values - mean[:, None])).mean(1))
    return best


def _kl(a: Tensor, p: Tensor) -> Tensor:
    """Relative entropy of a coin of bias a to one of bias p."""
    entropy: Tensor = _own(a) - torch.xlogy(a, p) - torch.special.xlog1py(1 - a, -p)
    return entropy


def _own(a: Tensor) -> Tensor:
    """The part of `_kl` that is of `a` alone."""
    return torch.xlogy(a, a) + torch.xlogy(1 - a, 1 - a)
