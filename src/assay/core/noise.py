"""Random numbers that depend on (seed, stream, image, sample) alone, never on batch size, order or process.

The generator is Widynski's counter-based `squares64` (arXiv 2004.06278): a key and a counter give 64 random bits, so
any element of any sample of any image can be made on its own, vectorised, on any device.
"""

from __future__ import annotations

import math
import operator
import zlib
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["derive", "laplace", "mix", "normal", "uniform"]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


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
    out = torch.empty(index.shape[0], math.prod(shape), device=index.device)
    for rows in _blocks(index, out.shape[1]):
        out[rows] = _unit(_bits(seed, stream, index[rows], sample[rows], out.shape[1]) >> 32)
    return out.view(-1, *shape)


def normal(seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers (Box-Muller), one block of `shape` for each pair of image and sample; see `uniform`."""
    count = math.prod(shape)
    half = (count + 1) // 2
    out = torch.empty(index.shape[0], 2 * half, device=index.device)
    for rows in _blocks(index, half):
        bits = _bits(seed, stream, index[rows], sample[rows], half)
        radius = _unit(bits >> 32).log_().mul_(-2.0).sqrt_()
        angle = _unit(bits).mul_(2.0 * math.pi)
        out[rows, :half] = angle.cos().mul_(radius)
        out[rows, half:] = angle.sin_().mul_(radius)
    return out[:, :count].reshape(-1, *shape)


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


def _blocks(index: Tensor, count: int) -> Iterator[slice]:
    """Runs of rows whose intermediate numbers fit a CPU's cache; on other devices one run."""
    rows = index.shape[0]
    step = max(1, (1 << 17) // max(count, 1)) if index.device.type == "cpu" else max(rows, 1)
    return (slice(start, start + step) for start in range(0, rows, step))


def _unit(bits: Tensor) -> Tensor:
    """The low 32 bits of each number as float32 in (0, 1): 23 bits and half a step, which float32 holds exactly."""
    return ((bits >> 9) & 0x7FFFFF).to(torch.float32).add_(0.5).mul_(2.0**-23)


def _bits(seed: int, stream: str, index: Tensor, sample: Tensor, count: int) -> Tensor:
    """(P, count) int64 of random bits: one key per seed and stream, one run of counters per image and sample."""
    key = _signed(derive(seed, stream) | 1)
    start = mix(mix(index.to(torch.int64)) + sample.to(torch.int64))
    counter = start[:, None] + torch.arange(count, device=index.device)
    x = counter.mul_(key)
    y = x.clone()
    z = y + key
    x.mul_(x).add_(y)
    _rotate(x).mul_(x).add_(z)
    _rotate(x).mul_(x).add_(y)
    _rotate(x).mul_(x).add_(z)
    last = x.clone()
    _rotate(x).mul_(x).add_(y)
    return last.bitwise_xor_(_shift(x, 32))


def _rotate(x: Tensor) -> Tensor:
    """Swap the halves of each 64-bit number in place."""
    high = _shift(x, 32)
    return x.bitwise_left_shift_(32).bitwise_or_(high)


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
