"""Superpixels: which segment each pixel belongs to."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from assay.core.registry import check_at_least, check_positive, register
from assay.errors import SpecError

__all__ = ["Grid", "Quickshift", "Segments", "Slic", "Superpixels", "segment_sums"]


class Segments(ABC):
    """Cuts images into superpixels."""

    reference: ClassVar[str]

    @final
    def labels(self, images: Tensor) -> Tensor:
        """Segment numbers 0..n-1 of each image's pixels, int64 (N, H, W) on the images' device."""
        return self.cut(images).to(images.device)

    @property
    def cells(self) -> int | None:
        """How many segments every image has, if it is large enough; None where that is up to the image."""
        return None

    @abstractmethod
    def cut(self, images: Tensor) -> Tensor:
        """Segment numbers (N, H, W), each image's without gaps."""


_last: tuple[object, Tensor] | None = None
"""What was cut last, by scheme and pixels, and its labels: explainers of the same images take turns."""


class _Skimage(Segments):
    """Superpixels by scikit-image, which takes one image at a time and leaves Python's lock while it works."""

    def cut(self, images: Tensor) -> Tensor:
        """See `Segments.cut`."""
        global _last  # One slot, replaced whole, so that threads at worst cut again.
        pixels = images.detach().cpu().contiguous()
        key = (self, pixels.shape, hashlib.blake2b(pixels.numpy().data).digest())
        held = _last
        if held is None or held[0] != key:
            held = _last = key, self._cut(pixels)
        return held[1].clone()

    def _cut(self, images: Tensor) -> Tensor:
        from skimage.segmentation import relabel_sequential  # Here, because the import takes a second.

        pixels = images.double().permute(0, 2, 3, 1)
        if pixels.shape[3] == 1:
            pixels = pixels.expand(-1, -1, -1, 3)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            found = list(pool.map(self.one, pixels.contiguous().numpy()))
        return torch.from_numpy(np.stack([relabel_sequential(labels + 1)[0] - 1 for labels in found]).astype(np.int64))

    @abstractmethod
    def one(self, pixels: np.ndarray) -> np.ndarray:
        """Segment numbers (H, W) of one image (H, W, channels)."""


@register
class Quickshift(_Skimage):
    """Quickshift; the defaults are the robustness paper's (and LIME's).

    Source: Vedaldi, Soatto 2008, as in scikit-image.
    """

    kernel_size: float = 1
    max_dist: float = 200
    ratio: float = 0.1
    reference: ClassVar[str] = "Vedaldi, Soatto: Quick Shift and Kernel Methods for Mode Seeking, 2008"

    def __post_init__(self) -> None:
        check_positive(self, "kernel_size", "max_dist")
        if not 0 <= self.ratio <= 1:
            raise SpecError(f"Quickshift: ratio must be in [0, 1], not {self.ratio!r}")

    def one(self, pixels: np.ndarray) -> np.ndarray:
        """See `_Skimage.one`."""
        from skimage.segmentation import quickshift

        return np.asarray(
            quickshift(
                pixels,
                kernel_size=self.kernel_size,
                max_dist=self.max_dist,
                ratio=self.ratio,
                convert2lab=pixels.shape[2] == 3,
                rng=0,
            )
        )


@register
class Slic(_Skimage):
    """About `count` compact clusters of colour and place.

    Source: Achanta et al. 2012, as in scikit-image.
    """

    count: int = 50
    compactness: float = 10.0
    reference: ClassVar[str] = "Achanta et al.: SLIC Superpixels, 2012"

    def __post_init__(self) -> None:
        check_at_least(self, 2, "count")
        check_positive(self, "compactness")

    def one(self, pixels: np.ndarray) -> np.ndarray:
        """See `_Skimage.one`."""
        from skimage.segmentation import slic

        return np.asarray(
            slic(pixels, n_segments=self.count, compactness=self.compactness, convert2lab=pixels.shape[2] == 3, start_label=0)
        )


@register
class Superpixels(Segments):
    """Few enough to tell apart: Quickshift on images of up to `small` pixels a side, above it Slic of about `count`.

    Quickshift's number grows with the image, to 700 or 800 at 224 pixels a side.
    """

    small: int = 64
    count: int = 50
    reference: ClassVar[str] = (
        "Vedaldi, Soatto: Quick Shift and Kernel Methods for Mode Seeking, 2008; Achanta et al.: SLIC Superpixels, 2012"
    )

    def __post_init__(self) -> None:
        check_at_least(self, 1, "small")
        check_at_least(self, 2, "count")

    def cut(self, images: Tensor) -> Tensor:
        """See `Segments.cut`."""
        chosen = Quickshift() if max(images.shape[2:]) <= self.small else Slic(self.count)
        return chosen.cut(images)


@register
class Grid(Segments):
    """Rectangles, `rows` by `columns`, the same on every image."""

    rows: int = 7
    columns: int = 7
    reference: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        check_at_least(self, 1, "rows", "columns")

    @property
    def cells(self) -> int:
        """See `Segments.cells`."""
        return self.rows * self.columns

    def cut(self, images: Tensor) -> Tensor:
        """See `Segments.cut`.

        Raises:
            SpecError: The grid is finer than the image.
        """
        count, _, height, width = images.shape
        if self.rows > height or self.columns > width:
            raise SpecError(f"Grid: {self.rows} x {self.columns} cells do not fit an image of {height} x {width} pixels")
        down = torch.arange(height) * self.rows // height
        across = torch.arange(width) * self.columns // width
        return (down[:, None] * self.columns + across).expand(count, -1, -1).contiguous()


def segment_sums(values: Tensor, labels: Tensor, count: int) -> Tensor:
    """Sums of `values` (N, H, W) over each image's segments (N, H, W), as (N, count)."""
    return values.new_zeros(len(values), count).scatter_add_(1, labels.flatten(1), values.flatten(1))
