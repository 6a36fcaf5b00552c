"""Images as people hold them, as one batch: pictures, arrays, data sets of torch, of `datasets` and of this package."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from assay.data.base import Batch, Dataset, read
from assay.data.files.decode import picture
from assay.data.files.reading import AS_IT_IS, Reading
from assay.errors import AssayWarning, EmptyBatchError, ImageTypeError, ShapeError

__all__ = ["as_batch", "class_names"]

_MASK = "mask"
_CALLER = 4
"""Calls between a warning and who gave the images."""
_IMAGES, _LABELS = ("image", "images", "img", "pixel_values", "x"), ("label", "labels", "target", "y")


def as_batch(images: Any, reading: Reading | None = None) -> Batch:
    """One batch of whatever holds images.

    Args:
        images: A list of PIL images or of arrays; an array (N, H, W), (N, H, W, C) or (N, C, H, W) of 8- or 16-bit integers or of
            floats in [0, 1]; a tensor; a data set of this package; a Hugging Face `Dataset` with a column of images; a torch
            `Dataset` or `DataLoader` that gives images, or images with labels. All of it is read into memory.
        reading: How pictures are prepared, such as `model.reading`; arrays and tensors are taken as they are.

    Returns:
        Images, labels where there are any (whole numbers, -1 where nobody knows; several for an image as rows of 1, 0 and -1, one
        for each finding, or lists of class labels of `datasets`), masks of a data set of this package, or of
        the column `mask` of samples, white (255, or 1 where there is nothing else) where the evidence lies;
            None or empty where there is none.

    Raises:
        ImageTypeError: It holds no images.
        ShapeError: They have different sizes.
        EmptyBatchError: There are none.
    """
    if isinstance(images, Batch):
        return images
    if isinstance(images, Dataset):
        return _read(images)
    if isinstance(images, Tensor | np.ndarray):
        return _batch(list(_stack(images)), [])
    names, several = class_names(images), _lists(images)
    found: list[Tensor] = []
    labels: list[int | tuple[int, ...]] = []
    masks: list[Any] = []
    for sample in _samples(images):
        image, label = _parted(sample)
        # A loader gives many at a time, told by the dimension more.
        many = isinstance(image, Tensor | np.ndarray) and image.ndim == 4
        found += list(_stack(image)) if many else [_single(image, reading or AS_IT_IS)]
        if not many and isinstance(sample, Mapping) and _MASK in sample:
            masks.append(sample[_MASK])
        if label is not None:
            labels += _labels(label, many, len(names) if several else 0)
    batch = _batch(found, labels)
    if not any(mask is not None for mask in masks):
        return batch
    return replace(batch, truth=_truth(masks, batch.images, reading or AS_IT_IS))


def _truth(masks: list[Any], images: Tensor, reading: Reading) -> Tensor:
    """(N, 1, H, W), bool; empty where there is no mask.

    Raises:
        ShapeError: A mask has another size than its image.
        ImageTypeError: It is neither white anywhere nor black everywhere.
    """
    truth = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.bool)
    for number, mask in enumerate(masks):
        if mask is None:
            continue
        drawn = np.asarray(mask.convert("L") if isinstance(mask, Image.Image) else mask)
        if drawn.max() == 1 or drawn.dtype == bool:
            drawn = (drawn > 0.5).astype(np.uint8) * 255
        if 0 < drawn.max() < 128:
            raise ImageTypeError(
                f"mask {number} is grey, {drawn.max()} at most: the evidence must be white (255), or 1 where all else is 0"
            )
        plain = replace(reading, channels=1, range=None, window=None)
        part = _single(Image.fromarray(drawn.astype(np.uint8).squeeze()), plain) > 0.5
        if part.shape[1:] != images.shape[2:]:
            raise ShapeError(f"mask {number} is {tuple(part.shape[1:])} where its image is {tuple(images.shape[2:])}")
        truth[number] = part
    return truth


def _read(dataset: Dataset) -> Batch:
    batch = read(dataset, range(len(dataset)))
    if not len(batch):
        why = f"; {batch.errors[0].name}: {batch.errors[0].message}" if batch.errors else ""
        raise EmptyBatchError(f"no image of {dataset.name} can be read{why}")
    if batch.errors:
        first = batch.errors[0]
        told = (
            f"left out of {dataset.name}: {len(batch.errors)} of {len(dataset)} images, which cannot be read; {first.name}: {first.message}"
        )
        warnings.warn(told, AssayWarning, stacklevel=_CALLER)
    return batch


def _samples(images: Any) -> Iterator[Any]:
    """The samples of a list, a data set with a length, or a loader."""
    if isinstance(images, str | bytes | Mapping) or not (isinstance(images, Iterable) or hasattr(images, "__getitem__")):
        raise ImageTypeError(
            "images must be a tensor, an array, a list of PIL images or arrays, or a data set or loader of them, "
            f"not {type(images).__name__}; of files: assay.data.load(path)"
        )
    if hasattr(images, "__len__") and hasattr(images, "__getitem__"):
        # Old torch data sets never end where they are iterated.
        return (images[number] for number in range(len(images)))
    return islice(iter(images), None)


def _parted(sample: Any) -> tuple[Any, Any]:
    """Image and label of a sample."""
    if isinstance(sample, Mapping):
        image = next((sample[key] for key in _IMAGES if key in sample), None)
        if image is None:
            image = next((value for value in sample.values() if isinstance(value, Image.Image)), None)
        if image is None:
            raise ImageTypeError(
                f"a sample has no image: its keys are {', '.join(map(str, sample))}; call the image's one of {', '.join(_IMAGES)}"
            )
        return image, next((sample[key] for key in _LABELS if key in sample), None)
    if isinstance(sample, Sequence) and not isinstance(sample, str) and len(sample):
        return sample[0], sample[1] if len(sample) > 1 and _is_label(np.asarray(sample[1])) else None
    return sample, None


def _is_label(value: NDArray[Any]) -> bool:
    """Whether it may be a label: a whole number, or findings, which losses want as floats of 0 and 1."""
    return value.dtype.kind in "iub" or (value.dtype.kind == "f" and value.ndim > 0 and bool(np.isin(value, (-1, 0, 1)).all()))


def class_names(images: Any) -> tuple[str, ...]:
    """Names of the classes that the labels of a data set number: of this package, of `datasets`, of torchvision; else none."""
    features: Any = getattr(images, "features", None)
    if isinstance(features, Mapping):
        own: list[Any] = [getattr(features.get(key), "feature", features.get(key)) for key in _LABELS]
        return next((tuple(one.names) for one in own if hasattr(one, "names")), ())
    names = getattr(images, "classes", ())
    return tuple(map(str, names)) if isinstance(names, Sequence) and not isinstance(names, str) else ()


def _lists(images: Any) -> bool:
    """Whether labels are lists of the numbers of classes, as `datasets` knows them."""
    features: Any = getattr(images, "features", None)
    return isinstance(features, Mapping) and any(hasattr(getattr(features.get(key), "feature", None), "names") for key in _LABELS)


def _labels(label: Any, many: bool, classes: int) -> list[int | tuple[int, ...]]:
    """Labels of one sample, or of many: class numbers, or rows of findings.

    Args:
        label: What a sample says.
        many: Whether it is of several images.
        classes: How many classes a list of class numbers is of; 0 where it is no such list.

    Raises:
        ShapeError: It is neither.
    """
    if classes:
        return [tuple(int(number in label) for number in range(classes))]
    marks = np.asarray(label)
    if marks.ndim > 1 + many or (marks.size and marks.ndim == 1 + many and marks.shape[-1] > 1 and not np.isin(marks, (-1, 0, 1)).all()):
        raise ShapeError(f"a label is a class number, or 1, 0 or -1 for each finding, not of shape {marks.shape}")
    if marks.ndim == 1 + many and (many or marks.size > 1):
        return [tuple(map(int, row)) for row in marks.reshape(-1, marks.shape[-1])]
    return [int(one) for one in marks.reshape(-1)]


def _single(image: Any, reading: Reading) -> Tensor:
    """(C, H, W) in [0, 1]."""
    if isinstance(image, Image.Image):
        try:
            return picture(image, reading)
        except ValueError as error:
            raise ImageTypeError(f"an image cannot be read: {error}") from error
    if not isinstance(image, Tensor | np.ndarray):
        raise ImageTypeError(f"images must be PIL images, arrays or tensors, not {type(image).__name__}")
    if image.ndim not in (2, 3):
        raise ShapeError(f"an image must have shape (H, W), (H, W, C) or (C, H, W), not {tuple(image.shape)}")
    return _stack(image[None])[0]


def _stack(images: Tensor | np.ndarray) -> Tensor:
    """(N, C, H, W) in [0, 1]; integers are divided by the largest value of their type."""
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(np.require(images, requirements=["C", "W"]))
    if tensor.ndim == 3:
        tensor = tensor[:, None]
    if tensor.ndim != 4:
        raise ShapeError(f"images must have shape (N, H, W), (N, H, W, C) or (N, C, H, W), not {tuple(tensor.shape)}")
    if tensor.shape[1] not in (1, 3) and tensor.shape[3] in (1, 3):
        tensor = tensor.permute(0, 3, 1, 2)
    if tensor.dtype == torch.bool or tensor.is_floating_point():
        return tensor.float()
    if tensor.dtype not in (torch.uint8, torch.uint16):
        raise ImageTypeError(
            f"images of type {str(tensor.dtype).removeprefix('torch.')} do not say which value is white; give floats in [0, 1]"
        )
    return tensor.float() / torch.iinfo(tensor.dtype).max


def _batch(found: list[Tensor], labels: Sequence[int | tuple[int, ...]]) -> Batch:
    if not found:
        raise EmptyBatchError("there are no images")
    if {one.shape[0] for one in found} == {1, 3}:
        found = [one.expand(3, -1, -1) for one in found]  # Grey pictures among colour ones.
    shapes = {tuple(one.shape) for one in found}
    if len(shapes) > 1:
        raise ShapeError(
            f"the images have different shapes, {', '.join(map(str, sorted(shapes)[:3]))}; bring them to one size first, or give reading="
        )
    if labels and len(labels) != len(found):
        raise ShapeError(f"there are {len(labels)} labels for {len(found)} images")
    if len(kinds := {len(one) if isinstance(one, tuple) else 0 for one in labels}) > 1:
        raise ShapeError(f"labels have different lengths: {', '.join(map(str, sorted(kinds)))}")
    count = len(found)
    return Batch(
        torch.stack(found).contiguous(),
        torch.tensor(labels) if labels else None,
        None,
        None,
        torch.arange(count),
        tuple(f"image {number}" for number in range(count)),
    )
