"""Reference images from elsewhere, as a background."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from assay.core import noise
from assay.core.registry import check_at_least, stand_in
from assay.data.base import Dataset, choose, read
from assay.data.catalogue import load
from assay.data.files.convert import as_batch
from assay.errors import DataError, ShapeError
from assay.explain.adapters.given import Stack
from assay.explain.backgrounds import Background

__all__ = ["References"]


@stand_in
class References(Background):
    """One of some reference images, drawn at random for each image and sample: the distribution that a map is relative to.

    Args:
        images: A data set, a text that `assay.data.load` takes, or what `assay.data.as_batch` takes, such as a tensor (R, C, H, W) in
            [0, 1]; of the size of the images that are explained.
        count: How many of them are taken, chosen at random once; None for all.
        sha256: The beginning of the content's hash, found where it is None; a spec that has it refuses other content.

    Raises:
        DataError: They cannot be read, or are others than the spec was made for.
    """

    images: Any
    count: int | None = 100
    sha256: str | None = None

    def __post_init__(self) -> None:
        check_at_least(self, 1, "count")
        if not isinstance(self.images, str | Dataset | Stack):
            held = as_batch(self.images).images
            object.__setattr__(self, "images", Stack(held.numpy()))
        found = self.pool.digest
        if self.sha256 not in (None, found):
            raise DataError(f"the reference images are others than this was made for: sha256 {found}..., expected {self.sha256}...")
        object.__setattr__(self, "sha256", found)

    @cached_property
    def pool(self) -> Stack:
        """The chosen images (R, C, H, W)."""
        if isinstance(self.images, Stack):
            many = len(self.images.maps)
            take = many if self.count is None else min(self.count, many)
            order = noise.uniform(0, "References", torch.arange(many), torch.zeros(many, dtype=torch.int64), ()).argsort()[:take]
            return Stack(self.images.maps[order.sort().values.numpy()])
        dataset = load(self.images) if isinstance(self.images, str) else self.images
        many = len(dataset) if self.count is None else min(self.count, len(dataset))
        batch = read(dataset, sorted(choose(dataset, many, 0)))
        if batch.errors:
            raise DataError(f"a reference image cannot be read: {batch.errors[0].name}: {batch.errors[0].message}")
        return Stack(batch.images.numpy())

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`.

        Raises:
            ShapeError: The reference images have another size than the images.
        """
        pool = torch.from_numpy(self.pool.maps)
        if pool.shape[1:] != images.shape[1:]:
            raise ShapeError(
                f"the reference images have shape {tuple(pool.shape[1:])} where the images have {tuple(images.shape[1:])}; give them in "
                "that size, such as References(ImageFolder('train', size=224))"
            )
        share = noise.uniform(seed, "References", index, torch.zeros_like(index), ())
        chosen = (share * len(pool)).long().clamp_max(len(pool) - 1)
        return pool[chosen.cpu()].to(images.device)
