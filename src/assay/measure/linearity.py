"""Infidelity and local linear error: how well the map, as a linear function, predicts the score's change."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.core.registry import check_at_least, check_positive, register
from assay.explain.base import Explainer
from assay.explain.kernels import Gaussian, Kernel, draw
from assay.measure.base import Measure, pairs_of
from assay.models.case import Case
from assay.models.passes import scores

__all__ = ["Infidelity", "LocalLinearError"]


@register
class Infidelity(Measure):
    """`E_I [(I . map - (f(x) - f(x - I)))^2]` over random changes I.

    Args:
        kernel: Distribution of I.
        samples: Draws, and forward passes, per image.
        scaled: Multiply each map by the factor that suits it best, so that its unit does not matter.
        relative: Divide by `E_I [(f(x) - f(x - I))^2]`: 0 is perfect, and with `scaled` 1 is a useless map.

    Source: Yeh et al. 2019, definition 2.1; `scaled` is its equation 5's optimal scale.
    """

    kernel: Kernel = Gaussian(0.2)
    samples: int = 100
    scaled: bool = False
    relative: bool = False
    category: ClassVar[str] = "faithfulness"
    higher_is_better: ClassVar[bool] = False
    reference: ClassVar[str] = "Yeh, Hsieh, Suggala, Inouye, Ravikumar: On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019"
    pitfalls: ClassVar[str] = "Rewards maps that are the best straight line through the noise, not those that find evidence."
    takes: ClassVar[str] = "`samples` forward per image, however many maps"
    meaning: ClassVar[str] = (
        "Change the image at random and by much: a faithful map, read as a sum over pixels, predicts how the score moves."
    )

    def __post_init__(self) -> None:
        check_at_least(self, 1, "samples")

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:  # noqa: ARG002
        """See `Measure.evaluate`."""
        return _error(case, maps, self.kernel, "Infidelity", self.samples, -1.0, self.scaled, self.relative)


@register
class LocalLinearError(Measure):
    """`E_u [(f(x + u) - f(x) - map . u)^2]` for u ~ N(0, radius^2 I): how far the map is from f's linear part near x.

    Args:
        radius: Standard deviation of u, in units of a [0, 1] pixel.
        samples: Draws, and forward passes, per image.
        scaled: See `Infidelity`.
        relative: See `Infidelity`: the share of the score's variation that the map leaves unexplained.

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

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:  # noqa: ARG002
        """See `Measure.evaluate`."""
        return _error(case, maps, Gaussian(self.radius), "LocalLinearError", self.samples, 1.0, self.scaled, self.relative)


def _error(case: Case, maps: list[Tensor], kernel: Kernel, stream: str, samples: int, sign: float, scaled: bool, relative: bool) -> Tensor:
    """Mean squared errors (E, N) of `map . step` as a prediction of `f(x + sign * step) - f(x)`, times `sign`; one set of passes."""
    images, shape = case.images, tuple(case.images.shape[1:])
    rows = pairs_of(len(images), samples, images.device)
    predicted = torch.empty(len(maps), len(rows), device=images.device)

    def make(start: int, stop: int) -> Tensor:
        here = rows[start:stop]
        step = draw(kernel, case.seed, stream, case.index[here], torch.arange(start, stop, device=images.device) % samples, shape)
        for kind, one in enumerate(maps):
            predicted[kind, start:stop] = torch.linalg.vecdot(one.expand_as(images)[here].flatten(1), step.flatten(1))
        return torch.add(images[here], step, alpha=sign)

    moved = scores(case.model, case.targets, rows, images.shape[1:], make).view(len(images), samples)
    change = sign * (moved - case.model.score(case.logits, case.targets)[:, None]).double()
    guess = predicted.view(len(maps), len(images), samples).double()
    if scaled:
        fit = (guess * change).sum(2, keepdim=True) / (guess**2).sum(2, keepdim=True)
        guess = guess * fit.nan_to_num(0.0)
    error = ((guess - change) ** 2).mean(2)
    return (error / (change**2).mean(1) if relative else error).float()
