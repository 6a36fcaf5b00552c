"""The two ways through a model that everything is made of: scores, and sums of gradients, of perturbed images.

Work comes as P pairs of an image and a perturbation. `rows` (P,) names each pair's image, in ascending order, and
`make(start, stop)` makes the pairs' inputs a chunk at a time, so memory does not grow with P.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core.chunk import out_of_memory
from assay.core.surroundings import undisturbed
from assay.errors import AssayError, ModelError
from assay.models.classifier import Classifier
from assay.models.heads import Output
from assay.models.preparation.proof import first_line

__all__ = ["Make", "Own", "Take", "combined", "each_image", "gradients", "mixed", "scores", "segment_sum", "slope_of"]

Make = Callable[[int, int], Tensor]
Take = Callable[[int, int, Tensor, Tensor], None]
Own = slice | Tensor
"""Takes from what is kept for each image that of a part of the pairs: one row that broadcasts to them, or one row for each."""


@undisturbed()
def scores(model: Classifier, targets: Tensor, rows: Tensor, shape: torch.Size, make: Make, output: Output | None = None) -> Tensor:
    """Scores (P,) of the pairs' inputs for their images' targets; forward passes only.

    Args:
        model: The model.
        targets: (N,) class ids or aims.
        rows: (P,) image of each pair, on the model's device.
        shape: (C, H, W) of one input.
        make: Makes the inputs of pairs start..stop.
        output: What a score is, where it is not what the model explains.
    """
    out = torch.empty(len(rows), dtype=torch.float32, device=rows.device)

    def step(start: int, stop: int) -> None:
        with torch.no_grad():
            out[start:stop] = model.score(model.forward(make(start, stop)), targets[rows[start:stop]], output)

    model.run(len(rows), shape, False, step)
    return out


@undisturbed()
def gradients(model: Classifier, targets: Tensor | None, rows: Tensor, shape: torch.Size, make: Make, take: Take) -> None:
    """Hand the gradients of the pairs' scores to `take(start, stop, scores, gradients)`, a chunk at a time.

    Args:
        model: The model.
        targets: (N,) class ids or aims, or None for the predicted class of each pair's own input.
        rows: (P,) image of each pair, on the model's device.
        shape: (C, H, W) of one input.
        make: Makes the inputs of pairs start..stop.
        take: Receives scores (n,) and gradients (n, C, H, W), float32.

    Raises:
        ModelError: The scores do not depend on the pixels in a way that can be differentiated.
    """

    def step(start: int, stop: int) -> None:
        made = make(start, stop).detach()
        with torch.inference_mode(False), torch.enable_grad():
            pixels = (made.clone() if made.is_inference() else made).requires_grad_()
            logits = model.forward(pixels)
            score = model.score(logits, model.choose(logits) if targets is None else targets[rows[start:stop]])
            gradient = slope_of(model, score, pixels)
        model.count_backward(stop - start)
        take(start, stop, score.detach(), gradient)

    model.run(len(rows), shape, True, step)


def slope_of(model: Classifier, values: Tensor, pixels: Tensor) -> Tensor:
    """Gradient (n, C, H, W) of the sum of values at the pixels that they were made of.

    Raises:
        ModelError: They do not depend on the pixels in a way that can be differentiated.
    """
    try:
        gradient = torch.autograd.grad(values.sum(), pixels, allow_unused=True)[0] if values.requires_grad else None
    except Exception as error:
        if isinstance(error, AssayError) or out_of_memory(error):
            raise
        raise ModelError(f"{model.name} fails when it is differentiated: {first_line(error)}") from error
    if gradient is None:
        raise ModelError(f"{model.name} has no gradient at its pixels; use an explainer that needs none, such as KernelShap")
    return gradient


def each_image(rows: Tensor) -> Iterator[tuple[Own, slice]]:
    """Parts of the pairs, and where each part finds what is its images' own; on a CPU a part is the pairs of one image.

    So nothing of an image is copied for each of its pairs. Reductions belong outside: threads would share out the sum of one row alone, to
    other bits than among others. Elsewhere, where to know the parts would be to wait for the device, and
    where most images have one pair, all pairs are one part.

    Args:
        rows: (P,) image of each pair; those of one image stand together.
    """
    if not _on_cpu(rows):
        yield rows, slice(0, len(rows))
        return
    images, counts = rows.unique_consecutive(return_counts=True)
    if 2 * len(images) > len(rows):
        yield rows, slice(0, len(rows))
        return
    stops = counts.cumsum(0).tolist()
    for image, (start, stop) in zip(images.tolist(), itertools.pairwise([0, *stops]), strict=True):
        yield slice(image, image + 1), slice(start, stop)


def combined(operation: Callable[..., Any], own: Tensor, rows: Tensor, each: Tensor) -> Tensor:
    """`operation(own[rows], each)`, float32, without a copy of what is an image's own for each of its pairs.

    Args:
        operation: Of two tensors, element by element; takes `out=`, as `torch.add`.
        own: (N, ...) of each image.
        rows: See `each_image`.
        each: (P, ...) of each pair; both broadcast.
    """
    shape = torch.broadcast_shapes(own[:1].shape, each.shape)
    out = torch.empty(len(rows), *shape[1:], dtype=torch.float32, device=each.device)
    for at, pairs in each_image(rows):
        operation(own[at], each[pairs], out=out[pairs])
    return out


def mixed(rows: Tensor, shares: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Inputs (P, C, H, W): `one` of each pair's image where its share is 1, `other` where it is 0, and between them in between.

    Args:
        rows: See `each_image`.
        shares: (P, 1, H, W) or (P, C, H, W), bool or in [0, 1].
        one: (N, C, H, W), finite.
        other: (N, C, H, W), finite.
    """
    one, other, shares = (part.detach().to(torch.float32) for part in (one, other, shares))
    out = torch.empty(len(rows), *one.shape[1:], dtype=torch.float32, device=one.device)
    for at, pairs in each_image(rows):
        # At 0 and at 1 lerp gives its ends to the bit, and unlike `torch.where` it uses a CPU's vectors.
        torch.lerp(other[at], one[at], shares[pairs], out=out[pairs])
    return out


def segment_sum(sums: Tensor, rows: Tensor, weights: Tensor, values: Tensor) -> None:
    """Add `weights * values` to `sums[rows]` in place, for ascending `rows`; the same bits at every repeat.

    A small matrix product, because scattered addition is not deterministic on GPUs. An image with a value that is not
    finite gets NaN, and the others stay clean.
    """
    count = len(rows)
    # On a CPU the span of rows costs nothing to know; elsewhere it would wait for the device at every chunk, so groups are numbered there.
    if _on_cpu(sums):
        first = int(rows[0])
        group, target = rows - first, torch.arange(first, int(rows[-1]) + 1)
    else:
        group, target = _groups(rows)
    flat = values.flatten(1).float()
    bad = ~flat.sum(1).isfinite()
    if not _on_cpu(sums) or bool(bad.any()):
        flat = flat.masked_fill(bad[:, None], 0.0)
    mixing = torch.zeros(len(target), count, dtype=torch.float32, device=sums.device)
    mixing[group, torch.arange(count, device=rows.device)] = weights.float()
    lost = torch.zeros(len(target), device=sums.device).index_add_(0, group, bad.float()) > 0
    found = (mixing @ flat).masked_fill(lost[:, None], torch.nan)
    sums.index_add_(0, target, found.view(-1, *sums.shape[1:]))


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _groups(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Which group of equal rows each of ascending rows (n,) is in, and the row of each of n groups; of empty groups the first row."""
    group = torch.cat([torch.zeros_like(rows[:1]), (rows[1:] != rows[:-1]).long().cumsum(0)])
    return group, rows[:1].expand(len(rows)).clone().scatter_(0, group, rows)
