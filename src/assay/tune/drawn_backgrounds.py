"""What is put in the place of erased pixels while a model is tuned: a new draw for each image and epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from assay.core import noise
from assay.core.noise import derive
from assay.core.registry import check_at_least, register
from assay.errors import NotFiniteError, ShapeError, SpecError
from assay.explain.backgrounds import Background

__all__ = [
    "Backdrop",
    "DatasetMean",
    "FromImages",
    "GaussianNoise",
    "OneOf",
    "OtherImages",
    "RandomColour",
    "fill",
    "fit_background",
    "keep_background",
]

Backdrop = Background | Callable[[Tensor, Tensor, int], Tensor]
"""A background, or any callable `(images (N, C, H, W), index (N,), seed) -> (N, C, H, W)`."""

_MEAN, _STD = (0.527, 0.447, 0.403), (0.229, 0.224, 0.225)
_MOST = 2**30
"""Bytes of backgrounds that `kept` holds at most."""
T = TypeVar("T", bound=Backdrop)


@register
class RandomColour(Background):
    """One random colour for each image, normal per channel and clamped to [0, 1].

    Args:
        mean: Per-channel mean; None for the paper's (0.527, 0.447, 0.403), or their average where there are not three channels.
        std: Per-channel standard deviation; None for the paper's (0.229, 0.224, 0.225), likewise.

    Source: Bhalla, Srinivas, Lakkaraju 2023.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    STD: ClassVar[tuple[float, ...]] = _STD
    """The paper's standard deviations."""

    def __post_init__(self) -> None:
        if self.std is not None and (not self.std or min(self.std) < 0):
            raise SpecError(f"RandomColour: std must be at least 0, not {self.std!r}")

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`."""
        channels = images.shape[1]
        mean, std = (_colour(images, own, usual) for own, usual in ((self.mean, _MEAN), (self.std, _STD)))
        drawn = noise.normal(seed, "RandomColour", index, torch.zeros_like(index), (channels, 1, 1))
        return (mean + std * drawn).clamp_(0, 1).expand_as(images)


@register
class GaussianNoise(Background):
    """Independent normal pixels, clamped to [0, 1].

    Args:
        mean: Mean of a pixel.
        std: Its standard deviation.
    """

    mean: float = 0.5
    std: float = 0.25

    def __post_init__(self) -> None:
        check_at_least(self, 0, "std")

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`."""
        drawn = noise.normal(seed, "GaussianNoise", index, torch.zeros_like(index), tuple(images.shape[1:]))
        return drawn.mul_(self.std).add_(self.mean).clamp_(0, 1)


class FromImages(Background):
    """A background that is made of other images, which have to be shown to it first: `fitted`."""

    @abstractmethod
    def fit(self, pool: Tensor) -> Background:
        """The background for these images (P, C, H, W), bytes or floats."""


@register
class DatasetMean(FromImages):
    """The mean colour of all images.

    Args:
        colour: Per channel; None for that of the images at hand.
    """

    colour: tuple[float, ...] | None = None

    def fit(self, pool: Tensor) -> Background:
        """See `FromImages.fit`."""
        if self.colour is not None:
            return self
        sums = torch.stack([part.double().sum((0, 2, 3)) for part in pool.split(256)]).sum(0)
        scale = 255.0 if pool.dtype == torch.uint8 else 1.0
        return DatasetMean(tuple((sums / (scale * pool.numel() / pool.shape[1])).tolist()))

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`."""
        if self.colour is None:
            raise SpecError("DatasetMean needs the images first: give DatasetMean(colour=(...)) or use it where the images are at hand")
        return _colour(images, self.colour, self.colour).expand_as(images)


@register
class OtherImages(FromImages):
    """Another image of the set, drawn at random."""

    def fit(self, pool: Tensor) -> Background:
        """See `FromImages.fit`."""
        if len(pool) < 2:
            raise SpecError("OtherImages needs at least 2 images to put one behind another")
        return _Drawn(pool)

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`."""
        raise SpecError("OtherImages needs the images first; use it where a whole set of images is at hand, as in DiET")


@dataclass(frozen=True, eq=False)
class _Drawn(Background):
    """`OtherImages` with its images; the image's own number is never drawn where the numbers are positions in the pool."""

    pool: Tensor

    def __repr__(self) -> str:
        return "OtherImages()"

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`."""
        many = len(self.pool)
        share = noise.uniform(seed, "OtherImages", index, torch.zeros_like(index), ())
        chosen = (index + 1 + (share * (many - 1)).long()) % many
        drawn = self.pool[chosen.to(self.pool.device)].to(images.device)
        return drawn.float() / 255 if drawn.dtype == torch.uint8 else drawn.float()


@register
class OneOf(FromImages):
    """One of several backgrounds for each image, at random.

    Args:
        choices: The backgrounds.
    """

    choices: tuple[Background, ...] = (RandomColour(), GaussianNoise())

    def __post_init__(self) -> None:
        if not self.choices:
            raise SpecError("OneOf: choices must hold at least one background")

    def fit(self, pool: Tensor) -> Background:
        """See `FromImages.fit`."""
        return OneOf(tuple(fit_background(one, pool) for one in self.choices))

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`."""
        share = noise.uniform(seed, "OneOf", index, torch.zeros_like(index), ())
        which = (share * len(self.choices)).long()
        out = torch.empty_like(images)
        for number, background in enumerate(self.choices):
            rows = which == number
            if bool(rows.any()):
                out[rows] = background.fill(images[rows], index[rows], derive(seed, f"OneOf {number}"))
        return out


def fit_background(background: T, pool: Tensor) -> T | Background:
    """The background with what it has to know of a set of images (P, C, H, W)."""
    return background.fit(pool) if isinstance(background, FromImages) else background


@dataclass(frozen=True, eq=False)
class _Kept(Background):
    """A steady background that is made once for each image; images are told apart by their numbers."""

    inner: Background
    most: int
    steady: ClassVar[bool] = True
    rows: dict[int, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        return repr(self.inner)

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`."""
        numbers = index.tolist()
        new = [place for place, number in enumerate(numbers) if number not in self.rows]
        if not new:
            return torch.stack([self.rows[number] for number in numbers])
        rows = torch.tensor(new, device=images.device)
        made = self.inner.fill(images[rows], index[rows.to(index.device)], seed)
        found = dict(zip((numbers[place] for place in new), made.unbind(), strict=True))
        if (len(self.rows) + len(found)) * images[0].numel() * images.element_size() <= self.most:
            self.rows.update(found)
        return torch.stack([found[number] if number in found else self.rows[number] for number in numbers])


def keep_background(background: T, most: int = _MOST) -> T | Background:
    """The background, made once for each image where it is steady, for repeated use on one set of images.

    Args:
        background: Any.
        most: Bytes that are held at most, of each of several; images beyond them get theirs made anew each time.
    """
    if isinstance(background, OneOf):
        return OneOf(tuple(keep_background(one, most) for one in background.choices))
    return _Kept(background, most) if isinstance(background, Background) and background.steady else background


def fill(background: Backdrop, images: Tensor, index: Tensor, seed: int) -> Tensor:
    """Backgrounds (N, C, H, W) for images (N, C, H, W); what a user's callable returns is checked.

    Raises:
        ShapeError: A callable returns another shape.
        NotFiniteError: It returns NaN or infinity.
    """
    if isinstance(background, Background):
        return background.fill(images, index, seed)
    made = background(images, index, seed)
    if not isinstance(made, Tensor) or made.shape != images.shape:
        found = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ShapeError(f"the background must return shape {tuple(images.shape)}, as the images have, not {found}")
    if not bool(made.isfinite().all()):
        raise NotFiniteError("the background returns NaN or infinity")
    return made.to(images.device, torch.float32)


def _colour(images: Tensor, own: tuple[float, ...] | None, usual: tuple[float, ...]) -> Tensor:
    """A colour as (C, 1, 1) for images of C channels."""
    channels = images.shape[1]
    if own is None:
        own = usual if channels == len(usual) else (sum(usual) / len(usual),) * channels
    if len(own) not in (1, channels):
        raise SpecError(f"the background's colour has {len(own)} channels, but images have {channels}")
    return torch.tensor(own, device=images.device).expand(channels)[:, None, None]
