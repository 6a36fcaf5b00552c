"""Images with their maps, as a page shows them; checked when they are put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from assay.errors import EmptyBatchError, ImageTypeError, PixelRangeError, ShapeError
from assay.report.page import Part

__all__ = ["Gallery"]


@dataclass(frozen=True, eq=False)
class Gallery(Part):
    """Some images and what each explainer says of them.

    Attributes:
        images: (G, 1 or 3, H, W) float, pixels in [0, 1].
        names: G names, for example of files; never trusted to be safe HTML.
        labels: G true classes, "" where unknown.
        predictions: G predicted classes.
        probabilities: G probabilities of the predicted classes, in [0, 1] or NaN.
        maps: For each explainer (G, C, H, W) float, signed, on its own scale.
        truth: (G, 1, H, W) bool, the pixels that decide the class, or None.
        distractor: (G, 1, H, W) bool, the pixels that must not matter, or None.
        scores: For each explainer and measure G scores, or nothing.
        why: Why each image is shown, in a few words; nothing where no reason is told.
        doubt: For explainers that know their own error (G, 1, H, W) bool, pixels whose value they cannot tell from 0; drawn hatched.

    Raises:
        EmptyBatchError, ShapeError, ImageTypeError, PixelRangeError: The parts do not fit together.
    """

    images: Tensor
    names: tuple[str, ...]
    labels: tuple[str, ...]
    predictions: tuple[str, ...]
    probabilities: tuple[float, ...]
    maps: Mapping[str, Tensor]
    truth: Tensor | None
    distractor: Tensor | None
    scores: Mapping[str, Mapping[str, tuple[float, ...]]]
    why: tuple[str, ...] = ()
    doubt: Mapping[str, Tensor] = field(default_factory=dict)

    template: ClassVar[str] = "gallery.html.j2"

    def __post_init__(self) -> None:
        _check_images(self.images)
        count, _, height, width = self.images.shape
        for part in ("names", "labels", "predictions", "probabilities"):
            if len(getattr(self, part)) != count:
                raise ShapeError(f"gallery: {len(getattr(self, part))} {part} for {count} images; give one for each image")
        if self.why and len(self.why) != count:
            raise ShapeError(f"gallery: {len(self.why)} reasons for {count} images; give one for each image, or none")
        for name, maps in self.maps.items():
            if maps.ndim != 4 or (maps.shape[0], *maps.shape[2:]) != (count, height, width):
                raise ShapeError(f"gallery: maps of {name} have shape {tuple(maps.shape)}, not ({count}, C, {height}, {width})")
        masks = {"truth": self.truth, "distractor": self.distractor} | {f"doubt of {name}": mask for name, mask in self.doubt.items()}
        for name, mask in masks.items():
            if mask is not None and (mask.shape != (count, 1, height, width) or mask.dtype != torch.bool):
                raise ShapeError(f"gallery: {name} is {mask.dtype} {tuple(mask.shape)}, not bool ({count}, 1, {height}, {width})")
        for explainer, measures in self.scores.items():
            for measure, values in measures.items():
                if len(values) != count:
                    raise ShapeError(f"gallery: {len(values)} scores of {explainer} by {measure} for {count} images")


def _check_images(images: Tensor) -> None:
    if not images.is_floating_point():
        raise ImageTypeError(f"gallery: images must be float in [0, 1], not {images.dtype}")
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ShapeError(f"gallery: images must be (G, 3, H, W) or (G, 1, H, W), not {tuple(images.shape)}")
    if images.numel() == 0:
        raise EmptyBatchError("gallery: no image to show; give at least one")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise PixelRangeError("gallery: a pixel is NaN or outside [0, 1]; scale the images first")
