"""Maps as differentiable functions of the pixels, one form per family of explainers."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.attack.forms.softened import Softened
from assay.core.registry import short
from assay.errors import SpecError
from assay.models.classifier import Classifier
from assay.models.passes import segment_sum

__all__ = ["Form", "Hold", "Steer", "Step", "SumForm", "form"]

Steer = Callable[[Tensor, Tensor], Tensor]
"""Takes maps (n, C, H, W) of the images numbered rows (n,), and gives the goal's gradient at them."""
Hold = Callable[[Tensor, Tensor], Tensor]
"""Takes logits (n, K) of the images numbered rows (n,), and gives penalties (n,) for losing the prediction."""


@dataclass(frozen=True)
class Step:
    """What is differentiated at one step.

    Attributes:
        model: The model.
        soft: Its softplus copy.
        images: (N, C, H, W), where the attack stands.
        targets: (N,) explained classes.
        index: (N,) the images' global numbers.
        seed: Decides the noise of this step.
        steer: The goal.
        hold: The prediction's penalty.
    """

    model: Classifier
    soft: Softened
    images: Tensor
    targets: Tensor
    index: Tensor
    seed: int
    steer: Steer
    hold: Hold


class Form(ABC):
    """An explainer's map as a function of the pixels that can be differentiated."""

    holds: bool = False
    """Whether `pull` takes the penalty off, its passes giving the images' own logits anyway."""
    softens: bool = False
    """Whether `pull` goes through the softplus copy."""

    @abstractmethod
    def pull(self, step: Step) -> Tensor:
        """Gradient (N, C, H, W) of the goal at the pixels, minus the penalty's where `holds`."""


@functools.singledispatch
def form(explainer: object) -> Form:
    """The differentiable form of an explainer; explainers of one's own are added by `form.register`.

    Raises:
        SpecError: It has none.
    """
    name = short(explainer) if hasattr(explainer, "__dataclass_fields__") else type(explainer).__name__
    raise SpecError(f"{name} cannot be differentiated by MapAttack; attack it by BlackBoxMapAttack")


class SumForm(Form):
    """A map that is a sum over inputs of the network: one for a gradient, many for a path or noisy copies."""

    softens = True

    @property
    def each(self) -> int:
        """Inputs per image."""
        return 1

    @abstractmethod
    def part(self, step: Step, pixels: Tensor, rows: Tensor, sample: Tensor, /) -> tuple[Tensor, Tensor]:
        """Logits and parts of the maps of P pairs, with a graph to `pixels`.

        Args:
            step: The step.
            pixels: (P, C, H, W), the pairs' images.
            rows: (P,) the images' places in the step.
            sample: (P,) which of an image's `each` inputs.
        """

    def pull(self, step: Step) -> Tensor:
        """See `Form.pull`; memory does not grow with `each`."""
        if step.soft.fits(self.each, step.images.shape[1:]):
            return self._whole(step)
        return self._split(step)

    def _whole(self, step: Step) -> Tensor:
        """All inputs of an image at once, so that one pass gives both the map and its slope."""
        found = torch.empty_like(step.images)

        def chunk(start: int, stop: int) -> None:
            rows = torch.arange(start, stop, device=found.device)
            with torch.inference_mode(False), torch.enable_grad():
                pixels = step.images[start:stop].detach().clone().requires_grad_()
                sample = torch.arange(self.each, device=found.device).repeat(len(rows))
                wide = pixels.repeat_interleave(self.each, 0) if self.each > 1 else pixels
                logits, parts = self.part(step, wide, rows.repeat_interleave(self.each), sample)
                maps = parts.view(len(rows), self.each, *parts.shape[1:]).sum(1)
                total = (maps * step.steer(maps.detach(), rows)).sum()
                if self.holds:
                    total = total - step.hold(logits, rows).sum()
                slope = step.soft.slope(total, pixels)
            step.soft.count_backward(len(rows) * self.each)
            found[start:stop] = slope

        step.soft.run_groups(len(found), self.each, found.shape[1:], chunk)
        return found

    def _split(self, step: Step) -> Tensor:
        """The maps first, and the goal's slope at them then pulled back a chunk at a time."""
        images, device = step.images, step.images.device
        maps: list[Tensor] = []
        vector: list[Tensor] = []
        found = torch.zeros_like(images)

        def chunk(start: int, stop: int) -> None:
            pairs = torch.arange(start, stop, device=device)
            rows = pairs // self.each
            ones = torch.ones(len(rows), device=device)
            with torch.inference_mode(False), torch.enable_grad():
                pixels = images[rows].detach().clone().requires_grad_()
                parts = self.part(step, pixels, rows, pairs % self.each)[1]
                slope = step.soft.slope((parts * vector[0][rows]).sum(), pixels) if vector else None
            if slope is None:
                if not maps:
                    maps.append(parts.new_zeros(len(images), *parts.shape[1:]).detach())
                segment_sum(maps[0], rows, ones, parts.detach())
            else:
                step.soft.count_backward(len(rows))
                segment_sum(found, rows, ones, slope)

        step.soft.run(len(images) * self.each, images.shape[1:], True, chunk)
        vector.append(step.steer(maps[0], torch.arange(len(images), device=device)))
        step.soft.run(len(images) * self.each, images.shape[1:], True, chunk)
        return found
