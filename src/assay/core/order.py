"""Orders with ties: equal values stand together, wherever they lie in the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from assay.core import noise

__all__ = ["BeforeCuts", "along", "brackets", "correlation", "cosine", "larger", "mean_ranks", "membership", "positive"]

BeforeCuts = Callable[[Tensor], Tensor]
"""(n, P) bool: which values come before their cuts, in the orders at places (n,) of all that are run."""


def larger(values: Tensor) -> Tensor:
    """How many of its row's values are larger than each value of (..., P), int64; where none are equal, its place in the order."""
    order, first, _ = _groups(values.detach().neg())
    return torch.empty_like(order).scatter_(-1, order, first)


def mean_ranks(values: Tensor) -> Tensor:
    """Ranks (..., P) from 0, equal values sharing their mean rank."""
    order, first, last = _groups(values.detach())
    return torch.empty_like(values).scatter_(-1, order, (first + last).to(values.dtype) / 2)


def brackets(before: Tensor, cuts: Tensor) -> tuple[Tensor, Tensor]:
    """Where the group of equal values begins and ends that a cut runs through; both are the cut itself where it runs through none.

    Args:
        before: (..., P) `larger` of the values.
        cuts: (S,) or (..., S) int64, numbers of values in 0..P that lie on the cut's near side.

    Returns:
        Two of (..., S) int64, `low <= cut <= high`.
    """
    count = before.shape[-1]
    ordered = before.sort(-1).values
    cuts = cuts.expand(*before.shape[:-1], cuts.shape[-1])
    low = torch.where(cuts < count, ordered.gather(-1, cuts.clamp_max(count - 1)), count)
    return low, torch.where(low == cuts, cuts, torch.searchsorted(ordered, low, right=True))


def membership(values: Tensor, count: int) -> Tensor:
    """How far each value of (N, P) is among the `count` largest: 1 or 0, and the chance over orders where equal values tie for a place."""
    last = values.detach().topk(max(count, 1), dim=1).values[:, -1:]
    above, tied = values > last, values == last
    share = ((count - above.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)).to(values.dtype)
    return torch.where(above, 1.0, torch.where(tied, share, 0.0))


def along(
    before: Tensor, cuts: Tensor, index: Tensor, seed: int, run: Callable[[Tensor, Tensor, BeforeCuts], Tensor], reverse: bool = True
) -> Tensor:
    """Outcomes (N, E, S) after the first `cuts` values of E orders per image, equal values coming in a random order.

    A cut through equal values gets the mean over two orders of them, one the other's reverse: their expected outcome over all
    orders is that of a random order, and a sum over values has its exact mean along a group. The orders depend on the seed and
    the image's number alone, so that maps with the same ties are treated alike. Values that are all equal are no order: nothing is
    run on the way from the first to the last.

    Args:
        before: (N, E, P) `larger` of the values.
        cuts: (S,) int64 in 0..P.
        index: (N,) the images' global numbers.
        seed: Decides the order of equal values.
        run: Gives the outcomes (n,) of orders, named by image (n,) in ascending order and by cut (n,); `inside(each)` tells
            which values come before the cuts of some of them.
        reverse: Whether equal values go in the reverse of their random order too; in one order alone their expected outcome is the
            same, and it varies more.
    """
    _, kinds, count = before.shape
    low, high = brackets(before, cuts)
    first = torch.arange(before[..., 0].numel(), device=before.device).view(before.shape[:2])[:, :, None] * (2 * count + 2)
    # At the ends of a group both orders are the same, and are run once, however many cuts need it.
    flat = high - low == count
    forth = first + torch.where(flat, 0, 2 * cuts)
    ways = [forth, torch.where((low == high) | flat, forth, forth + 1)] if reverse else [forth]
    wanted, place = torch.stack(ways).unique(return_inverse=True)
    pair, cut, back = wanted // (2 * count + 2), wanted % (2 * count + 2) // 2, (wanted % 2).bool()
    rows, kind = pair // kinds, pair % kinds
    tied = bool((low < high).any())
    orders, ends = (_strict(before, index, seed), _ends(before)) if tied else (before, before)

    def inside(each: Tensor) -> Tensor:
        row, which = rows[each], kind[each]
        places = orders[row, which]
        if tied:
            # In reverse, the first of a group is its last.
            places = torch.where(back[each, None], before[row, which] + ends[row, which] - 1 - places, places)
        first: Tensor = places < cut[each, None]
        return first

    found: Tensor = run(rows, cut, inside)[place].mean(0)
    return found


def _strict(before: Tensor, index: Tensor, seed: int) -> Tensor:
    """Places (N, E, P) in orders without ties: equal values stand in a random order, the same for all E."""
    drawn = noise.uniform(seed, "ties", index, torch.zeros_like(index), (before.shape[2],)).argsort(1)[:, None].expand_as(before)
    order = drawn.gather(2, before.gather(2, drawn).argsort(dim=2, stable=True))
    return torch.empty_like(before).scatter_(2, order, torch.arange(before.shape[2], device=before.device).expand_as(before))


def _ends(before: Tensor) -> Tensor:
    """Where the group of each value of (..., P) ends."""
    before = before.contiguous()
    return torch.searchsorted(before.sort(-1).values, before, right=True)


def _groups(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The ascending order of rows (..., P), and for each place in it the first and the last place of the values equal to its own."""
    # One sort and two running extremes, since looking every value up in the sorted ones takes three times as long.
    ordered, order = values.sort(-1)
    place = torch.arange(values.shape[-1], device=values.device).expand_as(order)
    same = ordered[..., 1:] == ordered[..., :-1]
    first = place.clone()
    first[..., 1:].masked_fill_(same, 0)
    last = place.clone()
    last[..., :-1].masked_fill_(same, values.shape[-1])
    return order, first.cummax(-1).values, last.flip(-1).cummin(-1).values.flip(-1)


def positive(sizes: Tensor) -> Tensor:
    """Sizes to divide by: 1 where there is nothing to divide."""
    return sizes.masked_fill(sizes == 0, 1.0)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Cosines (N,) of rows (N, P); of two zero vectors 1, of one zero vector 0."""
    # Scaled first, so that squares of small gradients do not vanish.
    one, other = (part / positive(part.abs().amax(1, keepdim=True)) for part in (one, other))
    sizes = one.norm(dim=1) * other.norm(dim=1)
    empty = (one == 0).all(1) & (other == 0).all(1)
    return torch.where(empty, 1.0, (one * other).sum(1) / positive(sizes))


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson correlations (N,) of rows (N, P); of two rows without variation 1, of one 0."""
    return cosine(one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True))
