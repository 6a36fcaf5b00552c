"""Infidelity and local linear error: how well the map, as a linear function, predicts the score's change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from assay.core.order import positive
from assay.core.precision import full_products
from assay.core.registry import check_at_least, check_positive, register
from assay.explain.base import Explainer
from assay.explain.kernels import Gaussian, Kernel, draw
from assay.measure.base import Measure, pairs_of
from assay.models.case import Case
from assay.models.passes import combined, scores

__all__ = ["Infidelity", "LocalLinearError"]

_FIRST = 32
"""Samples before the first look at a standard error; then as many again as there were."""


@register
class Infidelity(Measure):
    """`E_I [(I . map - (f(x) - f(x - I)))^2]` over random changes I.

    Args:
        kernel: Distribution of I.
        samples: Draws, and forward passes, per image.
        scaled: Multiply each map by the factor that suits it best, so that its unit does not matter.
        relative: Divide by `E_I [(f(x) - f(x - I))^2]`: 0 is perfect, and with `scaled` 1 is a useless map.
        antithetic: Draw every second change as minus the one before it; None does so where the score is scaled or relative, which the
            noise of even parts of f then no longer reaches.
        error: Standard error at which an image needs no more samples, for all maps; None takes them all.

    Source: Yeh et al. 2019, definition 2.1; `scaled` is its equation 5's optimal scale.
    """

    kernel: Kernel = Gaussian(0.2)
    samples: int = 100
    scaled: bool = False
    relative: bool = False
    antithetic: bool | None = None
    error: float | None = None
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = False
    reference: ClassVar[str] = "Yeh, Hsieh, Suggala, Inouye, Ravikumar: On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019"
    pitfalls: ClassVar[str] = "Rewards maps that are the best straight line through the noise, not those that find evidence."
    takes: ClassVar[str] = "`samples` forward per image at the most, however many maps"
    meaning: ClassVar[str] = (
        "Change the image at random and by much: a faithful map, read as a sum over pixels, predicts how the score moves."
    )

    def __post_init__(self) -> None:
        check_at_least(self, 1, "samples")
        if self.error is not None:
            check_positive(self, "error")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        mirrored = self.scaled or self.relative if self.antithetic is None else self.antithetic
        return _error(case, maps, _Draws(self.kernel, "Infidelity", -1.0, mirrored), self, self.error)


@register
class LocalLinearError(Measure):
    """`E_u [(f(x + u) - f(x) - map . u)^2]` for u ~ N(0, radius^2 I): how far the map is from f's linear part near x.

    Args:
        radius: Standard deviation of u, in units of a [0, 1] pixel.
        samples: Draws, and forward passes, per image.
        scaled: See `Infidelity`.
        relative: See `Infidelity`: the share of the score's variation that the map leaves unexplained.

    Such small changes drown in the rounding of 16 bits: passes are made in 32, and float32 matrices multiplied in full, in whichever
    precision the model is.

    Source: ours; it is `Infidelity` (Yeh et al. 2019) with small changes, of which a gradient is the best linear account.
    """

    radius: float = 0.01
    samples: int = 100
    scaled: bool = False
    relative: bool = False
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = False
    reference: ClassVar[str] = "none: ours, after the infidelity of Yeh et al., NeurIPS 2019"
    pitfalls: ClassVar[str] = "Small changes only, where the gradient is best by definition."
    takes: ClassVar[str] = "`samples` forward per image, however many maps"
    meaning: ClassVar[str] = "Change the image at random and by little: a faithful map predicts how the score moves nearby."

    def __post_init__(self) -> None:
        check_positive(self, "radius")
        check_at_least(self, 1, "samples")

    @full_products()
    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        return _error(case.exact, maps, _Draws(Gaussian(self.radius), "LocalLinearError", 1.0), self)


@dataclass(frozen=True)
class _Draws:
    """Which changes are drawn: their distribution and stream, the sign they are added with, whether each comes with its mirror."""

    kernel: Kernel
    stream: str
    sign: float
    mirrored: bool = False


def _products(case: Case, maps: list[Tensor], draws: _Draws, active: Tensor, samples: range) -> Tensor:
    """`[guess^2, guess * change, change^2]` (S, E, A, 3), float64, of some samples of the images at places `active` (A,).

    `guess` is `map . step` and `change` is `f(x + sign * step) - f(x)`, times `sign`; one set of passes serves all maps.
    """
    images, shape, many = case.images, tuple(case.images.shape[1:]), len(samples)
    rows = pairs_of(len(active), many, images.device)
    numbers = torch.arange(samples.start, samples.stop, device=images.device).repeat(len(active))
    guess = torch.empty(len(maps), len(rows), device=images.device)

    def make(start: int, stop: int) -> Tensor:
        here = active[rows[start:stop]]
        step = draw(draws.kernel, case.seed, draws.stream, case.index[here], numbers[start:stop], shape, draws.mirrored)
        for kind, one in enumerate(maps):
            guess[kind, start:stop] = combined(torch.mul, one, here, step).flatten(1).sum(1)
        return combined(partial(torch.add, alpha=draws.sign), images, here, step)

    moved = scores(case.model, case.targets, active[rows], images.shape[1:], make).view(-1, many)
    change = draws.sign * (moved - case.model.score(case.logits, case.targets)[active, None]).double()
    g, c = guess.view(len(maps), -1, many).double(), change.expand(len(maps), -1, -1)
    return torch.stack([g * g, g * c, c * c], 3).permute(2, 0, 1, 3)


def _score(means: Tensor, scaled: bool, relative: bool) -> Tensor:
    """Mean squared error of the guess from the means (..., 3) of `_products`."""
    g, both, c = means.unbind(-1)
    fit = torch.where(g > 0, both / positive(g), 0.0) if scaled else torch.ones_like(g)
    error = (fit * fit * g - 2 * fit * both + c).clamp_min(0.0)
    return error / c if relative else error


def _standard_error(found: Tensor, mirrored: bool, scaled: bool, relative: bool) -> Tensor:
    """(...) that of `_score` of the means of products (S, ..., 3), by the delta method; a sample and its mirror are one draw."""
    units = found[: len(found) // 2 * 2].unflatten(0, (-1, 2)).mean(1) if mirrored else found
    means = units.mean(0)
    with torch.enable_grad():
        at = means.detach().clone().requires_grad_()
        slope = torch.autograd.grad(_score(at, scaled, relative).sum(), at)[0]
    return ((units - means) * slope).sum(-1).var(0).div(len(units)).sqrt()


def _error(case: Case, maps: list[Tensor], draws: _Draws, measure: Infidelity | LocalLinearError, wanted: float | None = None) -> Tensor:
    """Scores (E, N); where an error is wanted, each image stops as soon as all maps' standard errors are below it."""
    scaled, relative = measure.scaled, measure.relative
    everyone = torch.arange(len(case.images), device=case.images.device)
    if wanted is None:
        return _score(_products(case, maps, draws, everyone, range(measure.samples)).mean(0), scaled, relative).float()
    result = torch.empty(len(maps), len(everyone), device=everyone.device)
    active, held, done = everyone, torch.empty(0, len(maps), len(everyone), 3, dtype=torch.float64, device=everyone.device), 0
    while len(active) and done < measure.samples:
        stop = min(measure.samples, max(_FIRST, 2 * done))
        held, done = torch.cat([held, _products(case, maps, draws, active, range(done, stop))]), stop
        result[:, active] = _score(held.mean(0), scaled, relative).float()
        going = ~(_standard_error(held, draws.mirrored, scaled, relative) <= wanted).all(0)
        active, held = active[going], held[:, :, going]
    return result
