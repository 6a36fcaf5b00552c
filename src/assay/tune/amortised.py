"""A small network that predicts in one pass the mask that would otherwise be learned for each image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, pad, pixel_unshuffle

from assay.core.noise import derive
from assay.core.precision import AnyPrecision, settled
from assay.core.progress import Progress, silent
from assay.core.registry import check_at_least, check_positive, register
from assay.errors import ShapeError
from assay.explain.base import Explainer
from assay.models.classifier import Classifier
from assay.models.seeded import seeded
from assay.models.training.recipe import Recipe
from assay.tune.simplify import drawn_masks, grid_cells, pixels

__all__ = ["MaskNet", "MaskTraining", "PredictedMask"]

_CHUNK = 256


class MaskNet(nn.Module):
    """A U-Net on the mask's grid: images (n, C, H, W) in [0, 1] to logits (n, 1, rows, columns).

    The pixels of a cell become channels of one position, so that nothing is lost and all is computed at the grid's size.

    Args:
        channels: Channels of the images.
        upsample: Pixels along a cell's side.
        widths: Channels at each depth; each depth halves the grid.
    """

    def __init__(self, channels: int, upsample: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.upsample, self.channels = upsample, channels
        self.enter = _block(channels * upsample**2, widths[0])
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(_block(above, below, stride=2) for above, below in pairs)
        self.up = nn.ModuleList(_block(above + below, above) for above, below in reversed(pairs))
        self.leave = nn.Conv2d(widths[0], 1, 1)
        self.to(memory_format=torch.channels_last)

    def __repr__(self) -> str:
        return f"MaskNet({sum(parameter.numel() for parameter in self.parameters())} parameters)"

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the mask's cells."""
        height, width = images.shape[2:]
        rows, columns = grid_cells(height, width, self.upsample)
        whole = pad(images - 0.5, (0, columns * self.upsample - width, 0, rows * self.upsample - height))
        x = self.enter(pixel_unshuffle(whole, self.upsample))
        kept = []
        for down in self.down:
            kept.append(x)
            x = down(x)
        for up in self.up:
            beside = kept.pop()
            x = up(torch.cat([beside, interpolate(x, beside.shape[2:], mode="nearest")], 1))
        logits: Tensor = self.leave(x)
        return logits


def _block(entry: int, width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(entry, width, 3, stride=stride, padding=1),
        nn.GroupNorm(1, width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.GroupNorm(1, width),
        nn.ReLU(),
    )


@register
class MaskTraining:
    """How a `MaskNet` is trained on learned masks: cross-entropy with the masks as soft labels, Adam, one cycle of the rate.

    Args:
        epochs: Passes over the images.
        lr: Largest step size, reached after a fifth of the steps; it falls to zero along half a cosine.
        batch_size: Images per step.
        widths: See `MaskNet`.
        precision: "bfloat16" computes under autocast (weights and sums stay float32), "float32" throughout; "auto" is the faster one.
    """

    epochs: int = 15
    lr: float = 4e-3
    batch_size: int = 32
    widths: tuple[int, ...] = (32, 64, 96, 128)
    precision: AnyPrecision = "auto"

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs", "batch_size")
        check_positive(self, "lr")

    def __call__(self, images: Tensor, masks: Tensor, upsample: int, seed: int = 0, progress: Progress = silent) -> PredictedMask:
        """Train on images (N, C, H, W), bytes or floats, and their masks (N, 1, rows, columns) in [0, 1].

        Raises:
            ShapeError: There is not one mask of the images' grid for each image.
        """
        grid = grid_cells(int(images.shape[2]), int(images.shape[3]), upsample)
        if masks.shape != (len(images), 1, *grid):
            raise ShapeError(f"masks of {len(images)} images on this grid have shape {(len(images), 1, *grid)}, not {tuple(masks.shape)}")
        device = masks.device
        short = settled(self.precision, device) == "bfloat16"
        with seeded(derive(seed, "MaskNet")):
            net = MaskNet(images.shape[1], upsample, self.widths).to(device)
        optimiser = torch.optim.Adam(net.parameters(), lr=self.lr)
        generator = torch.Generator().manual_seed(derive(seed, "order"))
        cycle, steps, step = Recipe(lr=self.lr, warmup=0.2), self.epochs * math.ceil(len(images) / self.batch_size), 0
        for epoch in range(self.epochs):
            for rows in torch.randperm(len(images), generator=generator).split(self.batch_size):
                for group in optimiser.param_groups:
                    group["lr"] = cycle.rate(step, steps)
                step += 1
                batch = pixels(images[rows.to(images.device)], device)
                with torch.autocast(device.type, torch.bfloat16, enabled=short):
                    logits = net(batch)
                loss = binary_cross_entropy_with_logits(logits.float(), masks[rows.to(device)])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            progress("training the mask network", epoch + 1, self.epochs)
        return PredictedMask(net.eval().requires_grad_(False))


@dataclass(frozen=True, eq=False)
class PredictedMask(Explainer):
    """Masks predicted in one pass by a network trained on masks that were learned for one model.

    It speaks for that model alone: the model at the call only says on which device to work, and targets do not enter.

    Attributes:
        net: The network.
        edges: Whether its masks are drawn along the images' edges; see `assay.DiET`.
    """

    net: MaskNet
    edges: bool = False
    category: ClassVar[str] = "mask"
    reference: ClassVar[str] = "Bhalla, Srinivas, Lakkaraju: Discriminative Feature Attributions, NeurIPS 2023; amortised here"
    finds_targets: ClassVar[bool] = True

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`; maps (N, 1, H, W) in [0, 1].

        Raises:
            ShapeError: The images have other channels than those of the training.
        """
        if images.shape[1] != self.net.channels:
            raise ShapeError(f"the mask network was trained on images of {self.net.channels} channels, not {images.shape[1]}")
        net = self.net.to(model.device)
        with torch.no_grad():
            found = torch.cat([net(part).sigmoid() for part in images.split(_CHUNK)])
        return drawn_masks(found, images, self.edges)
