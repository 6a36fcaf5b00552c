"""ROAD: pixels go in the map's order, and what is left of the image around them says what stands in their place."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.core import noise
from assay.core.order import Along, BeforeCuts
from assay.core.registry import check_at_least, register
from assay.errors import SpecError
from assay.explain.base import Explainer
from assay.measure.base import Measure, Order, orders
from assay.models.case import Case
from assay.models.passes import scores

__all__ = ["Road", "impute"]

_TOLERANCE = 3e-6
_PIECE = 1 << 16
"""Numbers that a CPU works on at once: more do not fit its cache, fewer are not worth the calls."""


@register
class Road(Measure):
    """Mean class probability when shares of the pixels, the most important first, are imputed from the others.

    A pixel that is gone is the weighted mean of its eight neighbours, gone ones included, and a little noise: nothing of a mask's
    shape is left to see. Ties as for `Deletion`.

    Args:
        fractions: Shares of the pixels that go.
        noise: Standard deviation of the noise on imputed pixels.
        order: Rank pixels by the channels' sum ("signed") or by their summed magnitudes ("magnitude").

    Source: Rong et al. 2022 (most relevant first). Deviations: each image's mean probability in place of the accuracy over images;
    where all pixels go, the image's mean colour is taken.
    """

    fractions: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    noise: float = 0.01
    order: Order = "signed"
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = False
    reference: ClassVar[str] = "Rong, Leemann, Borisov, Kasneci, Kasneci: A Consistent and Efficient Evaluation Strategy, ICML 2022"
    pitfalls: ClassVar[str] = "What is filled in hides less than black does, but the shape of the hole can still tell the class."
    takes: ClassVar[str] = "1 forward per map and fraction, 2 where pixels tie"
    meaning: ClassVar[str] = "Replace the pixels the map ranks highest by what their surroundings say: the class probability drops."

    def __post_init__(self) -> None:
        check_at_least(self, 0, "noise")
        if not self.fractions or not all(0 < fraction < 1 for fraction in self.fractions):
            raise SpecError(f"Road: fractions must be shares of the pixels in (0, 1), at least one, not {self.fractions!r}")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        images, shape = case.images, case.images.shape[1:]
        places, flat = orders(maps, self.order)

        def run(rows: Tensor, cuts: Tensor, inside: BeforeCuts) -> Tensor:
            def make(start: int, stop: int) -> Tensor:
                here, cut = rows[start:stop], cuts[start:stop]
                gone = inside(torch.arange(start, stop, device=rows.device)).view(-1, 1, *shape[1:])
                added = noise.normal(case.seed, "Road", case.index[here], cut, tuple(shape)) * self.noise
                return added.mul_(gone).add_(impute(images.index_select(0, here), gone))

            return scores(case.model, case.targets, rows, shape, make, "probability")

        cuts = (torch.tensor(self.fractions, device=images.device, dtype=torch.float64) * places.shape[2]).round().long()
        return Along(places, case.index, case.seed)(cuts, run).mean(2).T + flat


def impute(images: Tensor, gone: Tensor) -> Tensor:
    """Images whose pixels that are gone are each the weighted mean of their neighbours, by one linear system per image.

    Neighbours at a side weigh 1/6, at a corner 1/12, rescaled at the image's edge. The systems are symmetric and positive, and are
    solved by conjugate gradients in float32 to a relative residual of 3e-6, each channel of each image by itself, whatever its company.
    Pixels in [0, 1] came within 2e-4 of the exact solution for all holes tried, scattered and in one piece, up to 224 x 224.

    Args:
        images: (N, C, H, W), pixels in [0, 1].
        gone: (N, 1, H, W) bool; where all pixels are, the result is the image's mean colour.

    Source: Rong et al. 2022, equation 3.
    """
    filled = images.clone()
    shares = gone.flatten(1).sum(1)
    # Images with as much gone take as many steps, so they go together; in pieces that stay in a CPU's cache.
    order = shares.argsort()
    step = max(1, _PIECE // images.shape[1:].numel()) if images.device.type == "cpu" else max(1, len(images))
    for rows in order.split(step):
        filled[rows] = torch.where(gone[rows], _solved(images[rows], gone[rows]), images[rows])
    nothing = (shares == gone[0].numel()).view(-1, 1, 1, 1)
    return torch.where(nothing, images.mean((2, 3), keepdim=True), filled)


def _solved(images: Tensor, gone: Tensor) -> Tensor:
    """Of the pixels that are gone their values, of the others 0; weights are in twelfths."""
    count, channels, height, width = images.shape
    stride, size = width + 1, (count, channels, (height + 1) * (width + 1))
    hole = _laid(gone.float())
    # All pixels in one line, an empty one after each row and an empty row after each image: neighbours are shifts of the whole line.
    line = hole.new_zeros(images.numel() // (height * width) * size[2] + 2 * (stride + 1))
    way = line[stride + 1 : -stride - 1].view(size)
    across, around = torch.empty_like(line[2:]), torch.empty_like(way)
    flat, spare = around.view(-1), torch.empty_like(way)

    def spread() -> None:
        # 1 2 1 along both sides gives the neighbours' weights, and 4 to the pixel itself.
        torch.add(line[:-2], line[2:], out=across).add_(line[1:-1], alpha=2)
        torch.add(across[: -2 * stride], across[2 * stride :], out=flat).add_(across[stride:-stride], alpha=2)

    def dot(one: Tensor, other: Tensor) -> Tensor:
        return torch.mul(one, other, out=spare).sum(2, keepdim=True)

    way.copy_(_laid(torch.ones_like(images, dtype=torch.float32)))
    spread()
    own = around[0, 0].clone()
    # Jacobi: what is left is divided by each pixel's own weight, and nothing is sought where pixels are known.
    unknown = hole / (own - 4).clamp_min(1)
    way.copy_(_laid(images.float()) * (1 - hole))
    spread()
    rest, found = around * hole, torch.zeros_like(way)
    scaled = rest * unknown
    way.copy_(scaled)
    left = dot(rest, scaled)
    enough, none = left * _TOLERANCE**2, left.new_zeros(())
    for _ in range(height * width):
        is_open = left > enough
        if not bool(is_open.any()):
            break
        spread()
        around.addcmul_(way, own, value=-1)
        step = torch.where(is_open, left / dot(way, around), none)
        found.addcmul_(way, step, value=-1)
        rest.addcmul_(around, step, value=-1)
        torch.mul(rest, unknown, out=scaled)
        new = dot(rest, scaled)
        torch.addcmul(scaled, way, torch.where(is_open, new / left, none), out=way)
        left = torch.where(is_open, new, left)
    return found.view(count, channels, height + 1, width + 1)[..., :height, :width].to(images.dtype)


def _laid(values: Tensor) -> Tensor:
    """Images (N, C, H, W) as lines (N, C, (H + 1) (W + 1)), with an empty column and row at the end."""
    return F.pad(values, (0, 1, 0, 1)).flatten(2)
