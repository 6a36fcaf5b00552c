"""Coalitions of superpixels: drawing them, running the model on them, and weighted least squares over them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from assay.core import noise
from assay.models.classifier import Classifier
from assay.models.passes import each_image, mixed, scores

__all__ = [
    "Coalitions",
    "Fit",
    "bernoulli",
    "centred",
    "distinct",
    "joined",
    "least_squares",
    "own",
    "run_coalitions",
    "shapley",
    "singled",
    "solve_ridge",
    "stamps",
]


@dataclass(frozen=True)
class Coalitions:
    """S coalitions for each of N images.

    Args:
        members: (N, S, n) bool, which of the n superpixels stay; columns past an image's own number are False.
        weights: (N, S) float64, the coalition's share in the fit; 0 for those that need not be run.
    """

    members: Tensor
    weights: Tensor


def bernoulli(seed: int, index: Tensor, counts: Tensor, samples: int) -> Coalitions:
    """Each superpixel stays with probability 1/2, as in LIME.

    Args:
        seed: The run's seed.
        index: (N,) the images' global numbers.
        counts: (N,) numbers of superpixels.
        samples: Coalitions per image.
    """
    widest = int(counts.max())
    rows = index.repeat_interleave(samples)
    sample = torch.arange(samples, device=index.device).repeat(len(index))
    stays = noise.uniform(seed, "coalitions", rows, sample, (widest,)).view(len(index), samples, widest) < 0.5
    stays &= torch.arange(widest, device=index.device) < counts[:, None, None]
    return Coalitions(stays, torch.ones(len(index), samples, dtype=torch.float64, device=index.device))


def shapley(seed: int, index: Tensor, counts: Tensor, samples: int, paired: bool) -> Coalitions:
    """Coalitions weighted by the Shapley kernel, the empty and the full one left out.

    Args:
        seed: The run's seed.
        index: (N,) the images' global numbers.
        counts: (N,) numbers of superpixels.
        samples: Coalitions per image at the most.
        paired: Take sizes 1 and n - 1 exactly where they fit into the budget, further sizes while half of it is left for
            the others, and draw those as pairs of a coalition and its complement, sizes stratified. Where sizes 1 and n - 1 do not fit,
            part of the budget goes to disjoint groups of superpixels and their complements (`_groups`); the rest is for `singled`. False
            draws all independently, as Captum does.

    Source: Lundberg, Lee 2017; Covert, Lee 2021 (pairs).
    """
    widest = int(counts.max())
    members = torch.zeros(len(index), samples, widest, dtype=torch.bool, device=index.device)
    weights = torch.zeros(len(index), samples, dtype=torch.float64, device=index.device)
    for n in counts.unique().tolist():
        if n < 2:
            continue
        which = (counts == n).nonzero().flatten()
        exact, shares, sizes = _plan(n, samples, paired)
        fixed = len(exact)
        members[which, :fixed, :n] = torch.from_numpy(exact).to(index.device)
        weights[which, :fixed] = torch.from_numpy(shares).to(index.device)
        draws = (samples - fixed) // 2 if paired else samples - fixed
        if draws == 0 or not sizes:
            continue
        drawn = _groups(seed, index[which], n, draws) if paired and not fixed else _draw(seed, index[which], n, draws, sizes, paired)
        if paired:
            drawn = torch.stack([drawn, ~drawn], 2).flatten(1, 2)
        members[which, fixed : fixed + drawn.shape[1], :n] = drawn
        weights[which, fixed : fixed + drawn.shape[1]] = (1.0 - shares.sum()) / drawn.shape[1]
    return Coalitions(members, weights)


def distinct(coalitions: Coalitions) -> Coalitions:
    """The same fit with each image's equal coalitions made one, so that none is run twice."""
    marks = stamps(coalitions.members)
    order = marks.argsort(dim=1, stable=True)
    ordered = marks.gather(1, order)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    leader = order.gather(1, torch.where(new, torch.arange(order.shape[1], device=order.device), 0).cummax(1).values)
    weights = torch.zeros_like(coalitions.weights).scatter_add_(1, leader, coalitions.weights.gather(1, order))
    return Coalitions(coalitions.members, weights)


def joined(ran: Coalitions, more: Coalitions) -> tuple[Coalitions, Coalitions]:
    """All of `ran` and `more`, distinct, their weights shared by number; and what of `more` is still to be run."""
    shares = [(part.weights > 0).sum(1, keepdim=True).double() for part in (ran, more)]
    weights = [part.weights * (share / (shares[0] + shares[1]).clamp_min(1)) for part, share in zip((ran, more), shares, strict=True)]
    # Rows that `ran` left out as equal stay behind its leaders, for a stable sort finds the leaders first.
    both = distinct(Coalitions(torch.cat([ran.members, more.members], 1), torch.cat(weights, 1)))
    size = ran.members.shape[1]
    return both, Coalitions(more.members, both.weights[:, size:])


def singled(ran: Coalitions, values: Tensor, empty: Tensor, full: Tensor, counts: Tensor, most: int) -> Coalitions:
    """Single superpixels that were not alone yet, and all others without each, while there are no more than `most` coalitions in all.

    First come those of the groups with the largest effects: where few superpixels matter, these are found out and told apart. The last
    of a group counts half: the others and the group nearly tell it.

    Args:
        ran: Coalitions.
        values: (N, S) their scores.
        empty: (N,) scores with no superpixel.
        full: (N,) scores with all.
        counts: (N,) numbers of superpixels.
        most: Coalitions per image at the most, those that were run included.
    """
    mine, run = own(ran.members, counts), ran.weights > 0
    sizes = ran.members.sum(2)
    few = 2 * sizes <= counts[:, None]
    groups = torch.where(few[:, :, None], ran.members, ~ran.members & mine[:, None]) & run[:, :, None]
    effects = torch.where(few, values - empty[:, None], full[:, None] - values) / groups.sum(2).clamp_min(1)
    found = (effects[:, None] @ groups.to(effects.dtype))[:, 0].abs() / groups.sum(1).clamp_min(1)
    apart = mine & ~(groups & (groups.sum(2, keepdim=True) == 1)).any(1) & (counts > 1)[:, None]
    number = torch.minimum((most - run.sum(1)) // 2, apart.sum(1))
    rest = groups & apart[:, None]
    last = (rest & (rest.flip(2).cumsum(2).flip(2) == 1)).any(1)
    wanted = torch.where(last, found / 2, found).masked_fill(~apart, -1.0)
    order = wanted.argsort(dim=1, descending=True, stable=True)[:, : int(number.max()), None]
    taken = torch.arange(order.shape[1], device=order.device) < number[:, None]
    alone = torch.zeros(*taken.shape, mine.shape[1], dtype=torch.bool, device=order.device).scatter_(2, order, taken[:, :, None])
    members = torch.stack([alone, ~alone & mine[:, None]], 2).flatten(1, 2)
    return Coalitions(members, (taken.double() / (2 * number[:, None]).clamp_min(1)).repeat_interleave(2, 1))


def stamps(members: Tensor) -> Tensor:
    """One int64 number for each coalition (N, S, n), the sum of its superpixels' numbers modulo 2^64."""
    odd = noise.mix(torch.arange(members.shape[2], device=members.device)) | 1
    return (members.long() * odd).sum(2)


def own(members: Tensor, counts: Tensor) -> Tensor:
    """(N, n) bool: which columns of coalitions (N, S, n) are superpixels of an image with `counts` (N,) of them."""
    return torch.arange(members.shape[2], device=members.device) < counts[:, None]


def centred(members: Tensor, counts: Tensor) -> Tensor:
    """Coalitions (N, S, n) as numbers, every row's mean over its image's own superpixels taken off: what is left of a known sum."""
    x = members.double()
    return (x - x.sum(2, keepdim=True) / counts.view(-1, 1, 1)) * own(members, counts)[:, None]


def run_coalitions(model: Classifier, images: Tensor, targets: Tensor, labels: Tensor, filled: Tensor, coalitions: Coalitions) -> Tensor:
    """Scores (N, S) of the images with the absent superpixels replaced; 0 where the coalition's weight is 0.

    Args:
        model: The model.
        images: (N, C, H, W).
        targets: (N,) class ids.
        labels: (N, H, W) superpixel of each pixel.
        filled: (N, C, H, W) what shows through.
        coalitions: The coalitions.
    """
    rows, columns = (coalitions.weights > 0).nonzero(as_tuple=True)
    flat = labels.flatten(1)
    height, width = labels.shape[1:]

    def make(start: int, stop: int) -> Tensor:
        here = rows[start:stop]
        members = coalitions.members[here, columns[start:stop]].float()
        stays = members.new_empty(len(here), height * width)
        for at, pairs in each_image(here):
            torch.gather(members[pairs], 1, flat[at].expand_as(stays[pairs]), out=stays[pairs])
        return mixed(here, stays.view(-1, 1, height, width), images, filled)

    out = torch.zeros(coalitions.weights.shape, device=images.device)
    out[rows, columns] = scores(model, targets, rows, images.shape[1:], make)
    return out


def solve_ridge(members: Tensor, values: Tensor, weights: Tensor, alpha: float) -> Tensor:
    """Coefficients (N, n) of weighted ridge regressions with an unpenalised intercept.

    Args:
        members: (N, S, n) bool.
        values: (N, S) scores.
        weights: (N, S) sample weights.
        alpha: Penalty on the squared coefficients.
    """
    x, y, w = members.double(), values.double(), weights.double()
    total = w.sum(1, keepdim=True)
    x = x - (w[:, :, None] * x).sum(1, keepdim=True) / total[:, :, None]
    y = y - (w * y).sum(1, keepdim=True) / total
    x, y = w.sqrt()[:, :, None] * x, (w.sqrt() * y)[:, :, None]
    across = x.transpose(1, 2)
    # (X'X + a I)^-1 X' = X' (X X' + a I)^-1: the smaller of the two is solved.
    few = x.shape[1] < x.shape[2]
    normal = x @ across if few else across @ x
    normal = normal + alpha * torch.eye(normal.shape[1], dtype=x.dtype, device=x.device)
    solved: Tensor = across @ torch.linalg.solve(normal, y) if few else torch.linalg.solve(normal, across @ y)
    return solved[:, :, 0].float()


@dataclass(frozen=True)
class Fit:
    """A weighted least squares fit for each of N images.

    Args:
        coefficients: (N, n) float64.
        left_out: (N, S) errors at each row of a fit without it; infinite where the rows, or all others, do not decide the fit.
        deviation: (N, n) standard deviations of the coefficients, from the errors at rows left out.
    """

    coefficients: Tensor
    left_out: Tensor
    deviation: Tensor


def least_squares(x: Tensor, y: Tensor, weights: Tensor, unknowns: Tensor) -> Fit:
    """Weighted least squares; where the rows do not decide the fit, the one of least norm.

    Args:
        x: (N, S, n) float64.
        y: (N, S) float64; coefficients are differentiable in it.
        weights: (N, S); a row of weight 0 takes no part.
        unknowns: (N,) the rank of a design that decides the fit.

    Source: MacKinnon, White 1985 (the deviations, HC3).
    """
    root = weights.double().sqrt()
    scaled = root[:, :, None] * x
    across = scaled.transpose(1, 2)
    if x.shape[1] < x.shape[2]:
        inverse = across @ torch.linalg.pinv(scaled @ across, rtol=1e-10, hermitian=True)
    else:
        inverse = torch.linalg.pinv(across @ scaled, rtol=1e-10, hermitian=True) @ across
    coefficients = (inverse @ (root * y)[:, :, None])[:, :, 0]
    left = 1 - (scaled * inverse.transpose(1, 2)).sum(2)
    decided = (1 - left).sum(1) > unknowns - 0.5  # The sum of the leverages is the rank.
    residual = (y - (x @ coefficients[:, :, None])[:, :, 0]).detach()
    left_out = torch.where(root > 0, torch.where((left > 1e-8) & decided[:, None], residual / left, torch.inf), 0.0)
    moved = torch.where(inverse == 0, 0.0, inverse * (root * left_out)[:, None])
    return Fit(coefficients, left_out, moved.square().sum(2).sqrt())


def _plan(n: int, samples: int, paired: bool) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Coalitions of n taken exactly, their weights (of 1 in all), and the sizes left to draw from."""
    kernel = {k: (n - 1) / (k * (n - k)) for k in range(1, n)}
    whole = sum(kernel.values())
    sizes = list(kernel)
    rows: list[np.ndarray] = []
    shares: list[float] = []
    if paired:
        for k in range(1, n // 2 + 1):
            both = (k,) if 2 * k == n else (k, n - k)
            left = samples - len(rows) - len(both) * math.comb(n, k)
            # Past the sizes 1 and n - 1, sizes taken whole must not starve those that are left to draw.
            if left < 0 or (k > 1 and samples < 2**n - 2 and left < samples / 2):
                break
            for size in both:
                for chosen in itertools.combinations(range(n), size):
                    rows.append(np.isin(np.arange(n), chosen))
                    shares.append(kernel[size] / whole / math.comb(n, size))
                sizes.remove(size)
    return np.array(rows, dtype=bool).reshape(-1, n), np.array(shares), sizes


def _groups(seed: int, index: Tensor, n: int, pairs: int) -> Tensor:
    """Disjoint groups (N, G, n) of one size but for one superpixel, which hold all superpixels from 3 `pairs` on.

    G is half of `pairs`, fewer where nearly all superpixels can be alone as well, at least 3 and at most `pairs`.
    """
    share = min(0.5, 0.8 - 0.6 * pairs / n)
    size = -(-n // max(1, int(share * pairs)))
    groups = max(3, -(-n // size))
    numbers = noise.uniform(seed, "coalitions", index, torch.zeros_like(index), (n,))
    of = numbers.argsort(1).argsort(1)[:, None] * groups // n
    return torch.eq(of, torch.arange(min(groups, pairs), device=index.device)[:, None])


def _draw(seed: int, index: Tensor, n: int, draws: int, sizes: list[int], paired: bool) -> Tensor:
    """Random coalitions (N, draws, n), sizes by the Shapley kernel over `sizes`."""
    rows = index.repeat_interleave(draws)
    sample = torch.arange(draws, device=index.device).repeat(len(index))
    numbers = noise.uniform(seed, "coalitions", rows, sample, (n + 1,)).view(len(index), draws, n + 1).double()
    level = numbers[:, :, n]
    if paired:
        # One draw per stratum of the size distribution, at a place shared by the image's strata.
        level = (torch.arange(draws, device=index.device) + level[:, :1]) / draws
    kernel = torch.tensor([1.0 / (k * (n - k)) for k in sizes], dtype=torch.float64, device=index.device)
    edges = (kernel / kernel.sum()).cumsum(0)
    size = torch.tensor(sizes, device=index.device)[torch.searchsorted(edges, level.clamp_max(1 - 1e-12)).clamp_max(len(sizes) - 1)]
    ranks = numbers[:, :, :n].argsort(2).argsort(2)
    return torch.lt(ranks, size[:, :, None])
