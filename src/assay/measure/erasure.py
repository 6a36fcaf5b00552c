"""Whether a model says the same when only the pixels of a mask are left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from assay.core.surroundings import undisturbed
from assay.errors import ImageTypeError, PixelRangeError, ShapeError, SpecError
from assay.explain.backgrounds import Background
from assay.explain.base import check_call
from assay.models.classifier import Classifier

__all__ = ["Fill", "agreement", "erasure_agreement", "predicted"]

Fill = Callable[[Tensor, Tensor, int], Tensor]
"""Makes backgrounds (n, C, H, W) from images (n, C, H, W), their global numbers (n,) and the seed, as `Background.fill` does."""


@undisturbed()
def erasure_agreement(
    model: Classifier,
    images: Tensor,
    masks: Tensor,
    backgrounds: Sequence[Background | Fill],
    targets: Tensor | None = None,
    *,
    seed: int = 0,
    index: Tensor | None = None,
) -> Tensor:
    """Whether the prediction stays when everything outside the mask is replaced: `masks * images + (1 - masks) * background`.

    Args:
        model: The model.
        images: (N, C, H, W), pixels in [0, 1].
        masks: (N, 1, H, W) or (N, C, H, W), bool or in [0, 1]; 1 keeps a pixel.
        backgrounds: What the pixels are replaced with, one after another.
        targets: (N,) the classes to agree with, such as labels or another model's predictions; None for the model's own
            predictions on the whole images.
        seed: Decides random backgrounds, together with `index`.
        index: (N,) the images' global numbers; 0..N-1 when None.

    Returns:
        (B, N) float32 for B backgrounds, on the images' device: 1 where the class is the target, 0 where it is not, NaN where
        the model gives NaN or infinity.

    Raises:
        AssayError: A wrong input, named in the message.

    Source: Bhalla, Srinivas, Lakkaraju, NeurIPS 2023 (simplified images), for any background.
    """
    home = images.device if isinstance(images, Tensor) else None
    images, targets, index = check_call(model, images, targets, index)
    masks = _check_soft(masks, images)
    if not backgrounds:
        raise SpecError("erasure_agreement needs at least one background, such as assay.MeanColour()")
    chosen = model.predict(images) if targets is None else targets
    return torch.stack([_agree(model, images, masks, background, chosen, seed, index) for background in backgrounds]).to(home)


def predicted(model: Classifier, count: int, shape: torch.Size, make: Callable[[int, int], Tensor]) -> Tensor:
    """Class ids (P,) of inputs that `make(start, stop)` makes a chunk at a time; -1 where a logit is NaN or infinite.

    Args:
        model: The model.
        count: The number of inputs P.
        shape: (C, H, W) of one input.
        make: Makes the inputs start..stop on the model's device.
    """
    ids = torch.empty(count, dtype=torch.int64, device=model.device)

    def step(start: int, stop: int) -> None:
        with torch.no_grad():
            logits = model.forward(make(start, stop))
        ids[start:stop] = logits.argmax(1).masked_fill(~logits.isfinite().all(1), -1)

    model.run(count, shape, False, step)
    return ids


def agreement(ids: Tensor, targets: Tensor) -> Tensor:
    """1 where class ids are the targets, 0 where not, NaN where the id is -1; float32."""
    return (ids == targets).float().masked_fill(ids < 0, torch.nan)


def _agree(
    model: Classifier, images: Tensor, masks: Tensor, background: Background | Fill, targets: Tensor, seed: int, index: Tensor
) -> Tensor:
    fill = background.fill if isinstance(background, Background) else background

    def make(start: int, stop: int) -> Tensor:
        rows = slice(start, stop)
        filled = fill(images[rows], index[rows], seed)
        if not isinstance(filled, Tensor) or filled.shape != images[rows].shape:
            found = tuple(filled.shape) if isinstance(filled, Tensor) else type(filled).__name__
            raise ShapeError(f"a background must give {tuple(images[rows].shape)}, the images' shape, not {found}")
        return torch.lerp(filled.to(images), images[rows], masks[rows])

    return agreement(predicted(model, len(images), images.shape[1:], make), targets)


def _check_soft(masks: Tensor, images: Tensor) -> Tensor:
    """The masks as float32 on the images' device, of the images' height and width."""
    if not isinstance(masks, Tensor) or not (masks.is_floating_point() or masks.dtype == torch.bool):
        kind = str(masks.dtype).removeprefix("torch.") if isinstance(masks, Tensor) else type(masks).__name__
        raise ImageTypeError(f"masks must be a bool or floating torch tensor, not {kind}")
    count, channels, height, width = images.shape
    if masks.shape not in ((count, 1, height, width), (count, channels, height, width)):
        raise ShapeError(f"masks must have shape {(count, 1, height, width)} for these images, not {tuple(masks.shape)}")
    soft: Tensor = masks.detach().to(images.device, torch.float32)
    low, high = soft.aminmax()
    if not (low >= 0 and high <= 1):
        raise PixelRangeError(f"masks must lie in [0, 1], where 1 keeps a pixel; they run from {low:.3g} to {high:.3g}")
    return soft
