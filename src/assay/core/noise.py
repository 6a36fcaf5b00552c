"""Random numbers that depend on (seed, stream, image, sample) alone, never on batch size, order or process.

The generator is Widynski's counter-based `squares64` (arXiv 2004.06278): a key and a counter give 64 random bits, so
any element of any sample of any image can be made on its own, vectorised, on any device.
"""

from __future__ import annotations

import math
import operator
import zlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["derive", "laplace", "mix", "normal", "uniform"]

_MASK, _LOW = (1 << 64) - 1, (1 << 32) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_PIECE = 1 << 15
"""64-bit numbers that a CPU works on at once."""


def derive(seed: int, stream: str) -> int:
    """A seed for the named purpose, unrelated to `seed` and to the seeds of other purposes."""
    return _splitmix(_splitmix(operator.index(seed) & _MASK) ^ zlib.crc32(stream.encode()))


def uniform(seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers in (0, 1), one block of `shape` for each pair of image and sample.

    Args:
        seed: The run's seed.
        stream: What the numbers are for; streams are independent of each other.
        index: (P,) int64, the images' global numbers.
        sample: (P,) int64, the numbers of the samples.
        shape: Shape of one block.

    Returns:
        (P, *shape) float32 on the device of `index`.
    """
    count = math.prod(shape)
    out = torch.empty(index.shape[0], count, dtype=torch.float32, device=index.device)
    for rows, run, bits in _runs(seed, stream, index, sample, count, whole=False):
        out[rows, run] = _units(bits, 41)[0]
    return out.view(-1, *shape)


def normal(seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers (Box-Muller), one block of `shape` for each pair of image and sample; see `uniform`."""
    count = math.prod(shape)
    half = (count + 1) // 2
    out = torch.empty(index.shape[0], 2, half, dtype=torch.float32, device=index.device)
    for rows, run, bits in _runs(seed, stream, index, sample, half):
        radius, angle = _units(bits, 41, 9)
        radius.log_().mul_(-2.0).sqrt_()
        angle.mul_(2.0 * math.pi)
        torch.mul(angle.cos(), radius, out=out[rows, 0, run])
        torch.mul(angle.sin_(), radius, out=out[rows, 1, run])
    return out.flatten(1)[:, :count].reshape(-1, *shape)


def laplace(seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard Laplace numbers, one block of `shape` for each pair of image and sample; see `uniform`."""
    centred = uniform(seed, stream, index, sample, shape) - 0.5
    return -centred.sign() * torch.log1p(-2.0 * centred.abs())


def mix(x: Tensor) -> Tensor:
    """Scramble int64 numbers one to one (the finaliser of SplitMix64)."""
    x = x + _signed(_GOLDEN)
    x = (x ^ _shift(x, 30)) * _signed(_MIX[0])
    x = (x ^ _shift(x, 27)) * _signed(_MIX[1])
    return x ^ _shift(x, 31)


def _runs(seed: int, stream: str, index: Tensor, sample: Tensor, count: int, whole: bool = True) -> Iterator[tuple[slice, slice, Tensor]]:
    """Random bits (rows, run) int64 of (P, count) piece by piece: one key per seed and stream, one run of counters per image and sample.

    A piece fits a CPU's cache with all that is made on its way, and lies where the one before it lay; on other devices there is one.
    Where not `whole`, the upper 32 bits alone are finished, which the last of the rounds does not change.
    """
    key = _signed(derive(seed, stream) | 1)
    start, total = mix(mix(index.to(torch.int64)) + sample.to(torch.int64))[:, None], len(index) * count
    most = min(_PIECE, total) if index.device.type == "cpu" else total
    down, across = max(1, most // max(count, 1)), min(most, count)
    room, numbers = torch.empty(4, most, dtype=torch.int64, device=index.device), torch.arange(count, device=index.device)
    for row in range(0, len(index), down):
        for first in range(0, count, across):
            rows, run = slice(row, min(row + down, len(index))), slice(first, min(first + across, count))
            size = (rows.stop - rows.start, run.stop - run.start)
            yield rows, run, _squares(start[rows], numbers[run], key, room[:, : size[0] * size[1]].view(4, *size), whole)


def _squares(start: Tensor, numbers: Tensor, key: int, room: Tensor, whole: bool) -> Tensor:
    """Squares64 of the counters `start + numbers`, all of it in `room`."""
    if start.device.type == "cpu":
        return _squares_by_numpy(start, numbers, key, room, whole)
    x, y, z, swap = room.unbind()
    torch.add(start, numbers, out=y).mul_(key)
    torch.add(y, key, out=z)
    torch.mul(y, y, out=x).add_(y)
    for addend in (z, y, z):
        _swap(x, x, swap).mul_(x).add_(addend)
    if whole:
        last = _swap(x, z, swap)
        x.bitwise_xor_(last.mul_(last).add_(y).bitwise_right_shift_(32).bitwise_and_(_LOW))
    return x


def _squares_by_numpy(start: Tensor, numbers: Tensor, key: int, room: Tensor, whole: bool) -> Tensor:
    """The same: on a CPU numpy's whole numbers take half the time of torch's, and without a sign halves swap in three steps."""
    half = np.uint64(32)
    x, y, z, swap = room.numpy().view(np.uint64)
    np.add(start.numpy().view(np.uint64), numbers.numpy().view(np.uint64), out=y)
    np.multiply(y, np.uint64(key & _MASK), out=y)
    np.add(y, np.uint64(key & _MASK), out=z)
    np.multiply(y, y, out=x)
    np.add(x, y, out=x)
    for addend in (z, y, z):
        np.left_shift(x, half, out=swap)
        np.right_shift(x, half, out=x)
        np.bitwise_or(x, swap, out=x)
        np.multiply(x, x, out=x)
        np.add(x, addend, out=x)
    if whole:
        np.left_shift(x, half, out=swap)
        np.right_shift(x, half, out=z)
        np.bitwise_or(z, swap, out=z)
        np.multiply(z, z, out=z)
        np.add(z, y, out=z)
        np.right_shift(z, half, out=z)
        np.bitwise_xor(x, z, out=x)
    return room[0]


def _swap(x: Tensor, out: Tensor, room: Tensor) -> Tensor:
    """Each 64-bit number with its halves swapped."""
    torch.bitwise_left_shift(x, 32, out=room)
    return torch.bitwise_right_shift(x, 32, out=out).bitwise_and_(_LOW).bitwise_or_(room)


def _units(bits: Tensor, *lowest: int) -> Tensor:
    """Of each number 23 bits k from `lowest` upwards, 9 or 41, as `(k + 1/2) / 2^23`: one (len(lowest), *bits.shape) float32 in (0, 1)."""
    made = torch.empty(len(lowest), *bits.shape, dtype=torch.float32, device=bits.device)
    if bits.device.type == "cpu":
        # The upper bits of a half, behind the exponent of numbers in [1, 2).
        halves, floats = bits.numpy().view(np.uint32).reshape(*bits.shape, 2), made.numpy()
        for low, out in zip(lowest, floats.view(np.uint32), strict=True):
            np.right_shift(halves[..., low // 32], np.uint32(9), out=out)
        np.bitwise_or(floats.view(np.uint32), np.uint32(0x3F800000), out=floats.view(np.uint32))
        np.subtract(floats, np.float32(1 - 2.0**-24), out=floats)
    else:
        for low, part in zip(lowest, made, strict=True):
            part.copy_((bits >> low).bitwise_and_(0x7FFFFF)).add_(0.5).mul_(2.0**-23)
    return made


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical right shift: torch's own keeps the sign."""
    return (x >> by).bitwise_and_((1 << (64 - by)) - 1)


def _splitmix(x: int) -> int:
    x = (x + _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * _MIX[0]) & _MASK
    x = ((x ^ (x >> 27)) * _MIX[1]) & _MASK
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x
