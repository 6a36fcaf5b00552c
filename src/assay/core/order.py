"""Orders with ties: equal values stand together, wherever they lie in the image."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from assay.core import noise

__all__ = ["Along", "BeforeCuts", "brackets", "correlation", "cosine", "larger", "last_of_top", "mean_ranks", "membership", "positive"]

BeforeCuts = Callable[[Tensor], Tensor]
"""(n, P) bool: which values come before their cuts, in the orders at places (n,) of all that are run."""


def larger(values: Tensor) -> Tensor:
    """How many of its row's values are larger than each value of (..., P), int64; where none are equal, its place in the order."""
    return _places(values.detach().neg(), middle=False)


def mean_ranks(values: Tensor) -> Tensor:
    """Ranks (..., P) from 0, equal values sharing their mean rank."""
    return _places(values.detach(), middle=True)


def brackets(before: Tensor, cuts: Tensor) -> tuple[Tensor, Tensor]:
    """Where the group of equal values begins and ends that a cut runs through; both are the cut itself where it runs through none.

    Args:
        before: (..., P) `larger` of the values.
        cuts: (S,) or (..., S) int64, numbers of values in 0..P that lie on the cut's near side.

    Returns:
        Two of (..., S) int64, `low <= cut <= high`.
    """
    count = before.shape[-1]
    # What is sorted already needs no sort: each group is written where it begins, and reaches to where the next begins.
    ordered = torch.zeros_like(before).scatter_(-1, before, before).cummax(-1).values
    cuts = cuts.expand(*before.shape[:-1], cuts.shape[-1])
    low = torch.where(cuts < count, ordered.gather(-1, cuts.clamp_max(count - 1)), count)
    return low, torch.where(low == cuts, cuts, torch.searchsorted(ordered, low, right=True))


def membership(values: Tensor, count: int) -> Tensor:
    """How far each value of (N, P) is among the `count` largest: 1 or 0, and the chance over orders where equal values tie for a place."""
    values = values.detach()
    last = last_of_top(values, max(count, 1))
    above, tied = values > last, values == last
    share = ((count - above.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)).to(values.dtype)
    return torch.where(above, 1.0, torch.where(tied, share, 0.0))


def last_of_top(values: Tensor, count: int) -> Tensor:
    """The smallest (..., 1) of the `count` largest of values (..., P)."""
    place = values.shape[-1] - count
    if place >= 0 and _on_cpu(values) and values.dtype in (torch.float32, torch.float64):  # Else `topk` says what is wrong.
        return torch.from_numpy(np.partition(values.numpy(), place, axis=-1)[..., place, None])  # A tenth of `topk`'s time.
    return values.topk(count, dim=-1).values[..., -1:]


class Along:
    """Outcomes after the first values of E orders per image, equal values coming in a random order.

    A cut through equal values gets the mean over two orders of them, one the other's reverse: their expected outcome over all
    orders is that of a random order, and a sum over values has its exact mean along a group. The orders depend on the seed and
    the image's number alone, so that maps with the same ties are treated alike. Values that are all equal are no order: nothing is
    run on the way from the first to the last.

    Args:
        before: (N, E, P) `larger` of the values.
        index: (N,) the images' global numbers.
        seed: Decides the order of equal values.
        reverse: Whether equal values go in the reverse of their random order too; in one order alone their expected outcome is the
            same, and it varies more.
    """

    def __init__(self, before: Tensor, index: Tensor, seed: int, reverse: bool = True) -> None:
        self._before, self._index, self._seed, self._reverse = before, index, seed, reverse

    def __call__(self, cuts: Tensor, run: Callable[[Tensor, Tensor, BeforeCuts], Tensor]) -> Tensor:
        """Outcomes (N, E, S) after the first `cuts`.

        Args:
            cuts: (S,) or (N, E, S) int64 in 0..P.
            run: Gives the outcomes (n,) of orders, named by image (n,) in ascending order and by cut (n,); `inside(each)` tells
                which values come before the cuts of some of them.
        """
        images, kinds, count = self._before.shape
        low, high = brackets(self._before, cuts)
        first = torch.arange(images * kinds, device=low.device).view(images, kinds, 1) * (2 * count + 2)
        # At the ends of a group both orders are the same, and are run once, however many cuts need it.
        flat = high - low == count
        forth = first + torch.where(flat, 0, 2 * cuts)
        ways = [forth, torch.where((low == high) | flat, forth, forth + 1)] if self._reverse else [forth]
        wanted, place = torch.stack(ways).unique(return_inverse=True)
        pair, cut, back = wanted // (2 * count + 2), wanted % (2 * count + 2) // 2, wanted % 2
        tied = bool((low < high).any())
        orders, own = (self._orders, back * (images * kinds) + pair) if tied else (self._plain, pair)
        below = cut.to(orders.dtype)[:, None]

        def inside(each: Tensor) -> Tensor:
            first: Tensor = orders.index_select(0, own[each]) < below[each]
            return first

        found: Tensor = run(pair // kinds, cut, inside)[place].mean(0)
        return found

    @cached_property
    def _plain(self) -> Tensor:
        """Places (N * E, P) where no two values that a cut divides are equal."""
        return self._before.flatten(0, 1).int()

    @cached_property
    def _orders(self) -> Tensor:
        """Places (2 * N * E, P) in orders without ties: with equal values in their random order, and in its reverse."""
        forth = _strict(self._before, self._index, self._seed)
        # In reverse, the first of a group is its last.
        return torch.stack([forth, self._before + _ends(self._before) - 1 - forth]).flatten(0, 2).int()


def _strict(before: Tensor, index: Tensor, seed: int) -> Tensor:
    """Places (N, E, P) in orders without ties: equal values stand in a random order, the same for all E."""
    _, drawn = _ascending(noise.uniform(seed, "ties", index, torch.zeros_like(index), (before.shape[2],)))
    drawn = drawn[:, None].expand_as(before)
    order = drawn.gather(2, _ascending(before.gather(2, drawn))[1])
    return torch.empty_like(before).scatter_(2, order, torch.arange(before.shape[2], device=before.device).expand_as(before))


def _ends(before: Tensor) -> Tensor:
    """Where the group of each value of (..., P) ends."""
    sizes = torch.zeros_like(before).scatter_add_(-1, before, torch.ones_like(before))
    return before + sizes.gather(-1, before)


def _ascending(values: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers in ascending order that are equal where values (..., P) are, and the places these had; equal values keep their order."""
    if not _on_cpu(values) or values.dtype not in (torch.float32, torch.int64):
        ordered, order = values.sort(dim=-1, stable=True)
        return ordered, order
    # numpy sorts whole numbers with vector units, ten times as fast as torch finds an order; so a value and its place make one number.
    if values.dtype == torch.float32:
        bits = (values + 0.0).view(torch.int32)  # Which makes both zeros one.
        keys = bits.bitwise_xor_((bits >> 31).bitwise_and_(0x7FFFFFFF)).long().bitwise_left_shift_(32)
    else:
        keys = values << 32
    keys.add_(torch.arange(values.shape[-1])).numpy().sort(axis=-1)
    order = keys & 0xFFFFFFFF
    return keys.bitwise_right_shift_(32), order


def _places(values: Tensor, middle: bool) -> Tensor:
    """The place of each of values (..., P) in the ascending order; of equal ones the first, int64, or the middle of theirs, as they are."""
    ordered, order = _ascending(values)
    count = order.shape[-1]
    new = torch.ones(order.shape, dtype=torch.bool, device=order.device)
    torch.ne(ordered[..., 1:], ordered[..., :-1], out=new[..., 1:])
    if _on_cpu(order):
        begin = np.flatnonzero(new.numpy())
        sizes = np.diff(begin, append=new.numel())
        found = torch.from_numpy(np.repeat(2 * begin + sizes - 1 if middle else begin, sizes)).view_as(order)
        found -= torch.arange(order[..., :1].numel()).view_as(order[..., :1]) * (2 * count if middle else count)
    else:  # Where to know how many groups there are would be to wait for the device.
        place = torch.arange(count, device=order.device).expand_as(order)
        found = torch.where(new, place, 0).cummax(-1).values
        if middle:
            ends = F.pad(torch.where(new, place, count)[..., 1:], (0, 1), value=count)
            found += ends.flip(-1).cummin(-1).values.flip(-1) - 1
    found = found.to(values.dtype).div_(2) if middle else found
    return torch.empty_like(found).scatter_(-1, order, found)


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


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
