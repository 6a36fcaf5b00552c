"""Smoothing kernels: the distributions of what is added to an image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from assay.core import noise
from assay.core.registry import check_at_least, register

__all__ = ["Gaussian", "Kernel", "Laplace", "Student", "Uniform", "draw"]


class Kernel(ABC):
    """A symmetric distribution over images, in units of a [0, 1] pixel."""

    @abstractmethod
    def sample(self, seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Draws (P, *shape) for pairs of image `index` (P,) and `sample` (P,)."""

    @property
    @abstractmethod
    def spread(self) -> float:
        """Standard deviation of one pixel."""

    @abstractmethod
    def gamma(self, values: int) -> float:
        """The smallest number such that shifting the kernel by a vector v moves it by at most `gamma * |v|` (L2) in total variation.

        Total variation is the largest difference of the probabilities of an event. So `f * mu` is `gamma`-Lipschitz for every f in
        [0, 1], and `2 R gamma`-Lipschitz for `|f| <= R` (theorem 4.3 of Tan and Tian 2023, whose `R gamma` holds for the L1 distance of
        densities in place of total variation).

        Args:
            values: Numbers in an image, C * H * W.
        """


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

    def gamma(self, values: int) -> float:
        """`1 / (sigma sqrt(2 pi))`, reached by shifts in every direction; infinite without width."""
        return _inverse(self.sigma * math.sqrt(2 * math.pi))


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

    def gamma(self, values: int) -> float:
        """`sqrt(values) / (2 radius)`, reached by small shifts along a diagonal; infinite without width."""
        return math.sqrt(values) * _inverse(2 * self.radius)


@register
class Laplace(Kernel):
    """Independent Laplace noise per pixel, of density `exp(-|x| / scale) / (2 scale)`."""

    scale: float

    def __post_init__(self) -> None:
        check_at_least(self, 0, "scale")

    def sample(self, seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Tensor:
        """See `Kernel.sample`."""
        return noise.laplace(seed, stream, index, sample, shape).mul_(self.scale)

    @property
    def spread(self) -> float:
        """Standard deviation of one pixel."""
        return self.scale * math.sqrt(2)

    def gamma(self, values: int) -> float:
        """`1 / (2 scale)`, reached by small shifts of one pixel; infinite without width."""
        return _inverse(2 * self.scale)


@register
class Student(Kernel):
    """Student's distribution of whole images: normal noise of standard deviation `scale` over one `sqrt(chi^2 / df)` per image.

    Args:
        scale: Of one pixel; the standard deviation is larger, by `sqrt(df / (df - 2))`.
        df: Degrees of freedom; the fewer, the heavier the tails.
    """

    scale: float
    df: int = 3

    def __post_init__(self) -> None:
        check_at_least(self, 0, "scale")
        check_at_least(self, 3, "df")

    def sample(self, seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Tensor:
        """See `Kernel.sample`."""
        chi = noise.normal(seed, f"{stream}, chi", index, sample, (self.df,)).square_().mean(1).sqrt_()
        return noise.normal(seed, stream, index, sample, shape).mul_(self.scale / chi.view(-1, *[1] * len(shape)))

    @property
    def spread(self) -> float:
        """Standard deviation of one pixel."""
        return self.scale * math.sqrt(self.df / (self.df - 2))

    def gamma(self, values: int) -> float:
        """The density at 0 of one pixel's distribution, reached by small shifts in every direction; infinite without width."""
        log = math.lgamma((self.df + 1) / 2) - math.lgamma(self.df / 2)
        return math.exp(log) * _inverse(self.scale * math.sqrt(self.df * math.pi))


def draw(kernel: Kernel, seed: int, stream: str, index: Tensor, sample: Tensor, shape: tuple[int, ...], antithetic: bool = False) -> Tensor:
    """Draws (P, *shape); antithetic ones come in pairs, sample 2j + 1 being minus sample 2j, each pair made once."""
    if not antithetic:
        return kernel.sample(seed, stream, index, sample, shape)
    half, mirrored = sample // 2, sample % 2
    if not _on_cpu(index):
        # To know which pairs are whole would wait for the device; there noise is cheaper than that.
        return kernel.sample(seed, stream, index, half, shape) * (1 - 2 * mirrored).float().view(-1, *[1] * len(shape))
    new = torch.ones_like(half, dtype=torch.bool)
    new[1:] = (half[1:] != half[:-1]) | (index[1:] != index[:-1])
    made = kernel.sample(seed, stream, index[new], half[new], shape)
    pairs = made.new_empty(len(made), 2, *shape)
    pairs[:, 0] = made
    torch.neg(made, out=pairs[:, 1])
    pairs = pairs.flatten(0, 1)
    places = 2 * (new.cumsum(0) - 1) + mirrored
    inner = bool((places.diff() == 1).all())
    return pairs[int(places[0]) : int(places[0]) + len(places)] if inner and len(places) else pairs[places]


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _inverse(number: float) -> float:
    return 1 / number if number else math.inf
