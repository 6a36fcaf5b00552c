"""Smoothing kernels: the distributions of what is added to an image."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from assay.core import noise
from assay.core.registry import check_at_least, register

__all__ = ["Gaussian", "Kernel", "Uniform", "draw"]


class Kernel(ABC):
    """A symmetric distribution over images, in units of a [0, 1] pixel."""

    @abstractmethod
    def sample(self, seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Draws (P, *shape) for pairs of image `index` (P,) and `sample` (P,)."""

    @property
    @abstractmethod
    def spread(self) -> float:
        """Standard deviation of one pixel."""


@register
class Gaussian(Kernel):
    """Independent normal noise of standard deviation `sigma` per pixel."""

    sigma: float

    def __post_init__(self) -> None:
        check_at_least(self, 0, "sigma")

    def sample(self, seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Tensor:
        """See `Kernel.sample`."""
        return noise.normal(seed, stream, index, sample, shape).mul_(self.sigma)

    @property
    def spread(self) -> float:
        """Standard deviation of one pixel."""
        return self.sigma


@register
class Uniform(Kernel):
    """Independent uniform noise in [-radius, radius] per pixel (the smoothing of Wang and Kong, arXiv 2405.06361)."""

    radius: float

    def __post_init__(self) -> None:
        check_at_least(self, 0, "radius")

    def sample(self, seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Tensor:
        """See `Kernel.sample`."""
        return noise.uniform(seed, stream, index, sample, shape).mul_(2 * self.radius).sub_(self.radius)

    @property
    def spread(self) -> float:
        """Standard deviation of one pixel."""
        return self.radius / 3**0.5


def draw(kernel: Kernel, seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...], antithetic: bool = False) -> Tensor:
    """Draws (P, *shape); antithetic ones come in pairs, sample 2j + 1 being minus sample 2j, each pair made once."""
    if not antithetic:
        return kernel.sample(seed, stream, index, sample, shape)
    half = sample // 2
    new = torch.ones_like(half, dtype=torch.bool)
    new[1:] = (half[1:] != half[:-1]) | (index[1:] != index[:-1])
    made = kernel.sample(seed, stream, index[new], half[new], shape)
    sign = (1 - 2 * (sample % 2)).to(made.dtype).view(-1, *[1] * len(shape))
    return made[new.cumsum(0) - 1] * sign
