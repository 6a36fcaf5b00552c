"""Whether a model says the same when only the pixels of a mask are left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from assay.core.surroundings import undisturbed
from assay.errors import ImageTypeError, ModelError, PixelRangeError, ShapeError, SpecError
from assay.explain.backgrounds import Background
from assay.explain.base import check_call
from assay.models.classifier import Classifier
from assay.models.heads import HEADS
from assay.models.passes import Make
from assay.models.targets import Aims, Targets

__all__ = ["Fill", "erasure_agreement", "kept"]

Fill = Callable[[Tensor, Tensor, int], Tensor]
"""Makes backgrounds (n, C, H, W) from images (n, C, H, W), their global numbers (n,) and the seed, as `Background.fill` does."""


@undisturbed()
def erasure_agreement(
    model: Classifier,
    images: Tensor,
    masks: Tensor,
    backgrounds: Sequence[Background | Fill],
    targets: Targets | None = None,
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
        targets: (N,) the classes to agree with, such as labels or another model's predictions, or other `Targets`; None for the
            model's own predictions on the whole images. A finding of head "sigmoid" is to be there, or not, as on the whole image.
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
    images, aims, index = check_call(model, images, targets, index)
    masks = _check_soft(masks, images)
    if not backgrounds:
        raise SpecError("erasure_agreement needs at least one background, such as assay.MeanColour()")
    chosen = model.choose(model.logits(images)) if aims is None else aims
    return torch.stack([_agree(model, images, masks, background, chosen, seed, index) for background in backgrounds]).to(home)


def kept(model: Classifier, targets: Tensor, rows: Tensor, shape: torch.Size, make: Make, clean: Callable[[], Tensor]) -> Tensor:
    """Whether the pairs' inputs (P,) still say their images' targets: 1, 0, or NaN where an output is NaN or infinite; float32.

    Args:
        model: The model.
        targets: (N,) class ids or aims.
        rows: (P,) image of each pair, on the model's device.
        shape: (C, H, W) of one input.
        make: Makes the inputs of pairs start..stop.
        clean: Gives the logits of the whole images (N, K), asked for only where a prediction is compared with what it was.

    Raises:
        ModelError: The outputs are values, of which none is kept or lost.
    """
    found = torch.empty(len(rows), device=model.device)
    whole = model.decide(clean(), targets) if isinstance(targets, Aims) or HEADS[model.head].sided else None

    def step(start: int, stop: int) -> None:
        with torch.no_grad():
            logits = model.forward(make(start, stop))
        here = rows[start:stop]
        now = model.decide(logits, targets[here])
        if not now.head.decides:
            raise ModelError(f"{model.name} gives values, not classes, so there is no prediction that could be kept")
        ids, before = (now.ids, now.outputs) if whole is None else (whole.ids[here], whole.outputs[here])
        same = now.head.agrees(now.outputs, ids, before).float()
        found[start:stop] = same.masked_fill(~logits.flatten(1).isfinite().all(1), torch.nan)

    model.run(len(rows), shape, False, step)
    return found


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

    rows = torch.arange(len(images), device=images.device)
    return kept(model, targets, rows, images.shape[1:], make, lambda: model.unchecked_logits(images))


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
