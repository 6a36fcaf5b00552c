"""Between pixels and a network: how they are normalised, noisy copies of them, and how many images went through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from assay.core.surroundings import undisturbed
from assay.errors import ModelError

__all__ = ["Copies", "Passes", "normalisation"]


@dataclass
class Passes:
    """How many images went forward and backward through the network."""

    forward: int = 0
    backward: int = 0

    def __sub__(self, other: Passes) -> Passes:
        return Passes(self.forward - other.forward, self.backward - other.backward)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """What happens within the block is not counted."""
        before = self.copy()
        try:
            yield
        finally:
            self.forward, self.backward = before.forward, before.backward

    def copy(self) -> Passes:
        """The counts as they are now."""
        return Passes(self.forward, self.backward)


@dataclass(frozen=True)
class Copies:
    """Noisy copies of every image, by the same noise for all images and at every call.

    Args:
        count: How many.
        draw: Noise (S, C, H, W) of copies with numbers (S,), for images of a shape (C, H, W).
        spec: What they are, for records.
    """

    count: int
    draw: Callable[[Tensor, tuple[int, ...]], Tensor]
    spec: str

    def outputs(self, pixels: Tensor, each: int, run: Callable[[Tensor], Tensor]) -> Tensor:
        """Outputs (count, n, K, ...) of the copies of n images.

        Where not all go at once, the backward pass runs each part once more, instead of keeping all that it needs; its gradient
        cannot be differentiated again.

        Args:
            pixels: (n, C, H, W).
            each: Copies of each image that go through the network at once.
            run: The network.
        """

        def part(pixels: Tensor, start: int) -> Tensor:
            number = torch.arange(start, min(start + each, self.count), device=pixels.device)
            noisy = pixels + self.draw(number, tuple(pixels.shape[1:]))[:, None]
            return cast("Tensor", run(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2]))

        starts = range(0, self.count, each)
        again = len(starts) > 1 and pixels.requires_grad and torch.is_grad_enabled()
        parts = [cast("Tensor", _Again.apply(pixels, start, part)) if again else part(pixels, start) for start in starts]
        return torch.cat(parts) if len(parts) > 1 else parts[0]


class _Again(torch.autograd.Function):
    """A function that is computed once more for its gradient; torch's own checkpoints compute at once within `undisturbed`."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, start: int, part: Callable[[Tensor, int], Tensor]) -> Tensor:
        ctx.save_for_backward(pixels)
        ctx.start, ctx.part = start, part
        return part(pixels, start)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, None, None]:
        with undisturbed(), torch.enable_grad():
            pixels = ctx.saved_tensors[0].detach().requires_grad_()
            found = ctx.part(pixels, ctx.start)
            return torch.autograd.grad(found, pixels, slope, allow_unused=True)[0], None, None


def normalisation(mean: Any, std: Any, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Shift and scale such that `pixels * scale + shift` is the network's input; no scale when there is nothing to do."""
    if mean is None and std is None:
        return torch.zeros(1), None
    centre = torch.as_tensor(0.0 if mean is None else mean, dtype=torch.float32).reshape(-1, 1, 1)
    spread = torch.as_tensor(1.0 if std is None else std, dtype=torch.float32).reshape(-1, 1, 1)
    if not bool(((spread > 0) & spread.isfinite()).all()) or not bool(centre.isfinite().all()):
        raise ModelError(f"mean must be finite and std positive, not mean={mean!r}, std={std!r}")
    if bool((centre > 1).all()) and bool((spread > 1).all()):
        raise ModelError(
            f"mean={mean!r} and std={std!r} are those of pixels from 0 to 255, but pixels are in [0, 1] here: divide both by 255"
        )
    centre, spread = torch.broadcast_tensors(centre, spread)
    return (-centre / spread).to(device), (1 / spread).to(device)
