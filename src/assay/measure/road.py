"""ROAD: pixels go in the map's order, and what is left of the image around them says what stands in their place."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.core import noise
from assay.core.order import BeforeCuts, along
from assay.core.registry import check_at_least, register
from assay.errors import SpecError
from assay.explain.base import Explainer
from assay.measure.base import Measure, Order, orders
from assay.models.case import Case
from assay.models.passes import scores

__all__ = ["Road", "impute"]

_TOLERANCE = 1e-6


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

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:  # noqa: ARG002
        """See `Measure.evaluate`."""
        images, shape = case.images, case.images.shape[1:]
        places, flat = orders(maps, self.order)

        def run(rows: Tensor, cuts: Tensor, inside: BeforeCuts) -> Tensor:
            def make(start: int, stop: int) -> Tensor:
                here, cut = rows[start:stop], cuts[start:stop]
                gone = inside(torch.arange(start, stop, device=rows.device)).view(-1, 1, *shape[1:])
                added = noise.normal(case.seed, "Road", case.index[here], cut, tuple(shape)) * self.noise
                return impute(images[here], gone) + added * gone

            return scores(case.model, case.targets, rows, shape, make, "probability")

        cuts = (torch.tensor(self.fractions, device=images.device, dtype=torch.float64) * places.shape[2]).round().long()
        return along(places, cuts, case.index, case.seed, run).mean(2).T + flat


def impute(images: Tensor, gone: Tensor) -> Tensor:
    """Images whose pixels that are gone are each the weighted mean of their neighbours, by one linear system per image.

    Neighbours at a side weigh 1/6, at a corner 1/12, rescaled at the image's edge. The systems are symmetric and positive, so all are
    solved together by conjugate gradients, to a relative residual of 1e-6; each stops by itself, whatever its company.

    Args:
        images: (N, C, H, W).
        gone: (N, 1, H, W) bool; where all pixels are, the result is the image's mean colour.

    Source: Rong et al. 2022, equation 3.
    """
    x = images.double()
    hole = gone.to(x.dtype)

    def around(values: Tensor) -> Tensor:
        # 1 2 1 along both sides gives the neighbours' weights in twelfths, and 4 to the pixel itself.
        wide = F.pad(values, (1, 1, 1, 1))
        across = wide[..., :-2] + 2 * wide[..., 1:-1] + wide[..., 2:]
        return (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :] - 4 * values) / 12

    def dot(one: Tensor, other: Tensor) -> Tensor:
        return (one * other).sum((2, 3), keepdim=True)

    whole = around(torch.ones_like(x[:1]))
    # Jacobi: in units of the square root of its weight, every unknown has 1 on the diagonal.
    scale = hole / whole.sqrt()
    rest = scale * around(x * (1 - hole))
    found, way, left = torch.zeros_like(x), rest.clone(), dot(rest, rest)
    enough = left * _TOLERANCE**2
    for _ in range(gone[0].numel()):
        open_ = left > enough
        if not bool(open_.any()):
            break
        pushed = hole * way - scale * around(scale * way)
        step = torch.where(open_, left / dot(way, pushed), 0.0)
        found += step * way
        rest -= step * pushed
        new = torch.where(open_, dot(rest, rest), left)
        way = torch.where(open_, rest + new / left * way, way)
        left = new
    filled = torch.where(gone, found / whole.sqrt(), x)
    nothing = gone.flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.where(nothing, x.mean((2, 3), keepdim=True), filled).to(images.dtype)
