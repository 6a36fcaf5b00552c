"""Checks of what a user hands in, made before any work starts."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from assay.errors import EmptyBatchError, ImageTypeError, NotFiniteError, PixelRangeError, ShapeError, SpecError, TargetError

__all__ = ["check_finite", "check_images", "check_index", "check_maps", "check_masks", "check_seed", "check_targets", "sent"]

_ROUNDING = 1e-5
"""How far outside [0, 1] arithmetic in float32, such as undoing a normalisation, may bring a pixel; it is put back."""


def check_images(images: Any, broken: bool = False) -> Tensor:
    """Return the images as float32, or say what is wrong with them.

    Args:
        images: (N, C, H, W) floating tensor with pixels in [0, 1].
        broken: Whether some of them, but not all, may have pixels that are NaN or infinite.

    Raises:
        ImageTypeError: Not a floating tensor.
        ShapeError: Not of rank 4, or no pixels.
        EmptyBatchError: N is 0.
        NotFiniteError: A pixel is NaN or infinite.
        PixelRangeError: A pixel is outside [0, 1] by more than rounding, which is mended.
    """
    if not isinstance(images, Tensor):
        raise ImageTypeError(f"images must be a torch tensor (N, C, H, W), not {type(images).__name__}")
    if not images.is_floating_point():
        raise ImageTypeError(f"images must be floating point with pixels in [0, 1], not {_dtype(images)}; divide 8-bit pixels by 255")
    if images.ndim != 4:
        hint = "; add images[None]" if images.ndim == 3 else ""
        raise ShapeError(f"images must have shape (N, C, H, W), not {tuple(images.shape)}{hint}")
    if images.shape[0] == 0:
        raise EmptyBatchError(f"the batch is empty: images have shape {tuple(images.shape)}")
    if images.numel() == 0:
        raise ShapeError(f"images hold no pixels: shape {tuple(images.shape)}")
    pixels: Tensor = _ours(images.detach().float())
    if broken:
        whole = pixels.flatten(1).isfinite().all(1)
        if bool(whole.any()) and not bool(whole.all()):
            checked = pixels.clone()
            checked[whole] = check_images(pixels[whole])
            return checked
    low, high = pixels.aminmax()
    if not (bool(low.isfinite()) and bool(high.isfinite())):
        raise NotFiniteError(f"image {_first(~pixels.isfinite())} has a pixel that is NaN or infinite")
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return pixels if low >= 0 and high <= 1 else pixels.clamp(0, 1)
    if low < 0 or high > 1:
        first = _first((pixels < 0) | (pixels > 1))
        raise PixelRangeError(
            f"pixels must be in [0, 1], but image {first} runs from {pixels[first].min():.3g} to {pixels[first].max():.3g}; "
            "give raw pixels and leave normalisation to Classifier(mean=, std=)"
        )
    return pixels


def check_targets(targets: Any, count: int, classes: int | None, device: torch.device) -> Tensor:
    """Return the targets as (N,) int64 on `device`.

    Raises:
        TargetError: Not one whole number per image, or out of the model's range (when `classes` is known).
    """
    if not isinstance(targets, Tensor):
        try:
            targets = torch.as_tensor(targets)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TargetError(f"targets must be (N,) class ids, not {type(targets).__name__}") from error
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise TargetError(f"targets must be whole numbers (class ids), not {_dtype(targets)}")
    if targets.shape != (count,):
        raise TargetError(f"targets must have shape ({count},), one class id per image, not {tuple(targets.shape)}")
    ids: Tensor = _ours(targets.to(device, torch.int64))
    wrong = ids < 0 if classes is None else (ids < 0) | (ids >= classes)
    if wrong.any():
        first = _first(wrong)
        known = "" if classes is None else f" of a model with {classes} classes (0 to {classes - 1})"
        raise TargetError(f"target {int(ids[first])} of image {first} is no class{known}")
    return ids


def check_index(index: Any, count: int, device: torch.device) -> Tensor:
    """Return the images' global numbers as (N,) int64 on `device`; 0..N-1 when None.

    Raises:
        ShapeError: Not one whole number per image.
    """
    if index is None:
        return torch.arange(count, device=device)
    try:
        index = torch.as_tensor(index)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"index must hold {count} whole numbers, one per image, not {type(index).__name__}") from error
    if index.shape != (count,) or index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise ShapeError(f"index must hold {count} whole numbers, one per image, not shape {tuple(index.shape)} of {_dtype(index)}")
    numbers: Tensor = _ours(index.to(device, torch.int64))
    return numbers


def check_seed(seed: Any) -> int:
    """Return the seed as an int, of whatever library its whole number is.

    Raises:
        SpecError: It is no whole number.
    """
    try:
        return operator.index(seed)
    except TypeError as error:
        raise SpecError(f"seed must be a whole number, not {seed!r}") from error


def check_maps(maps: Any, images: Tensor) -> Tensor:
    """Return the maps as float32 on the images' device.

    Raises:
        ImageTypeError: Not a floating tensor.
        ShapeError: Not (N, C, H, W) or (N, 1, H, W) for these images.
        NotFiniteError: A map holds NaN or infinity.
    """
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        raise ImageTypeError("maps must be a floating torch tensor (N, C, H, W) or (N, 1, H, W)")
    count, channels, height, width = images.shape
    flat = (count, 1, height, width)
    if maps.shape not in ((count, channels, height, width), flat):
        raise ShapeError(f"maps must have shape {tuple(images.shape)} or {flat} for these images, not {tuple(maps.shape)}")
    return check_finite(maps.detach().to(images.device, torch.float32), "the map")


def check_masks(masks: Any, images: Tensor, what: str) -> Tensor:
    """Return the masks called `what` as (N, 1, H, W) bool on the images' device.

    Raises:
        ShapeError: Not (N, 1, H, W) for these images.
    """
    count, _, height, width = images.shape
    if not isinstance(masks, Tensor) or masks.shape != (count, 1, height, width):
        found = tuple(masks.shape) if isinstance(masks, Tensor) else type(masks).__name__
        raise ShapeError(f"{what} must be masks of shape {(count, 1, height, width)}, not {found}")
    return masks.to(images.device) > 0.5 if masks.is_floating_point() else masks.to(images.device, torch.bool)


def check_finite(values: Tensor, what: str) -> Tensor:
    """Return `values`, or name the images whose part of it is NaN or infinite.

    Raises:
        NotFiniteError: Something is NaN or infinite.
    """
    if not bool(values.sum().isfinite()):
        bad = (~values.isfinite()).reshape(len(values), -1).any(1).nonzero().flatten().tolist()
        if bad:
            shown = ", ".join(map(str, bad[:5])) + (" ..." if len(bad) > 5 else "")
            raise NotFiniteError(f"{what} of image {shown} ({len(bad)} of {len(values)}) is NaN or infinite")
    return values


def _ours(tensor: Tensor) -> Tensor:
    """A tensor that autograd can use, whatever mode the caller made it in."""
    return tensor.clone() if tensor.is_inference() else tensor


def _first(wrong: Tensor) -> int:
    return int(wrong.flatten(1).any(1).nonzero()[0] if wrong.ndim > 1 else wrong.nonzero()[0])


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The values on a device; to a GPU by way of pinned memory, so that nothing waits for the copy but what needs it."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
