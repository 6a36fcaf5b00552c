"""What a sweep over smoothing widths will do, checked before it does anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from assay.attack.ball import Ball, LinfBall, ball
from assay.attack.base import Attack
from assay.attack.distances import Distance, TopK
from assay.attack.map_attack import MapAttack
from assay.bounds.certify import check_certifiable
from assay.core.listed import built
from assay.core.registry import short
from assay.errors import SpecError
from assay.explain.base import Explainer
from assay.explain.kernels import Gaussian, Kernel
from assay.explain.smooth import Smoothed
from assay.measure.base import Measure
from assay.measure.linearity import Infidelity, LocalLinearError
from assay.measure.perturbation import Deletion, Insertion
from assay.models.classifier import Classifier
from assay.models.targeting import Targeting
from assay.study.frontier.sweep import CERTIFIABLE, CONFIDENCE, Sweep, width_of

__all__ = ["FAITHFULNESS", "SIGMAS", "SweepOptions", "plan_sweep"]

SIGMAS = (0.0, 0.01, 0.03, 0.1)
FAITHFULNESS: tuple[Measure, ...] = (
    LocalLinearError(radius=0.01, scaled=True, relative=True),
    LocalLinearError(radius=0.1, scaled=True, relative=True),
    Infidelity(scaled=True, relative=True),
    Deletion(),
    Insertion(),
)


@dataclass(frozen=True)
class SweepOptions:
    """What is asked of a sweep, as of `assay.frontier`, but of several explainers.

    Attributes:
        explainers: What is smoothed.
        sigmas: Standard deviations of Gaussian kernels; those of `SIGMAS` where neither these nor `kernels` are given.
        kernels: In place of `sigmas`.
        samples: Noisy copies at every width; None for the paper's rule.
        faithfulness: Measures of the maps on the model.
        attack: On the smoothed explainers; None for none.
        otherwise: Where `attack` cannot be made.
        distance: What maps are compared by under attack.
        attacked: How many images are attacked; None for all.
        draws: Random changes of each image.
        within: Ball of these changes; the attack's by default.
        certified: L2 radius of certificates; None for none.
    """

    explainers: Sequence[Explainer]
    sigmas: Sequence[float] | None = None
    kernels: Sequence[Kernel] | None = None
    samples: int | None = None
    faithfulness: Sequence[Measure] = FAITHFULNESS
    attack: Attack | None = MapAttack()
    otherwise: Attack | None = None
    distance: Distance = TopK()
    attacked: int | None = None
    draws: int = 10
    within: Ball | None = None
    certified: float | None = None


def plan_sweep(model: Classifier, images: int, wanted: SweepOptions, seed: int = 0, targets: Targeting | Tensor | None = None) -> Sweep:
    """What a sweep over so many images will do, checked before it does anything.

    Raises:
        SpecError: They make no sweep.
        ModelError: The model's gradients can have no certificate, and one is wanted.
    """
    if wanted.sigmas is not None and wanted.kernels is not None:
        raise SpecError("give sigmas or kernels, not both")
    sigmas = SIGMAS if wanted.sigmas is None else wanted.sigmas
    widths = _widths([Gaussian(float(one)) for one in sigmas] if wanted.kernels is None else wanted.kernels)
    chosen, rated = built("explainer", wanted.explainers, Explainer), built("measure", wanted.faithfulness, Measure)
    wrong = [short(one) for one in rated if one.category != "faithfulness" or one.needs]
    if wrong:
        raise SpecError(f"{wrong[0]} is no measure of faithfulness to the model alone; robustness is measured in any case")
    if not chosen or not rated:
        raise SpecError("a frontier needs at least one explainer and one measure of faithfulness")
    for name, value, least in (("draws", wanted.draws, 1), ("attacked", wanted.attacked, 2), ("samples", wanted.samples, 1)):
        if value is not None and value < least:
            raise SpecError(f"{name} must be at least {least}, not {value}")
    hit, aims = wanted.attack, Targeting.read(targets)
    if wanted.certified is not None:
        _check_certified(model, chosen, widths, wanted.samples, wanted.certified, aims.sample)
    sweep = Sweep(
        model=model,
        explainers=chosen,
        kernels=widths,
        samples=wanted.samples,
        faithfulness=rated,
        attack=hit,
        otherwise=wanted.otherwise,
        distance=wanted.distance,
        draws=wanted.draws,
        attacked=wanted.attacked,
        ball=wanted.within or (LinfBall(8 / 255) if hit is None else ball(hit.norm, hit.eps)),
        images=images,
        seed=seed,
        targets=aims,
        certified=wanted.certified,
    )
    assert len(sweep.robustness) in (0, 2)  # a distance that is no similarity is refused here
    return sweep


def _check_certified(
    model: Classifier,
    explainers: Sequence[Explainer],
    kernels: Sequence[Kernel | None],
    samples: int | None,
    eps: float,
    targets: Tensor | None,
) -> None:
    """Raise SpecError or ModelError unless some explainer is of a kind with certificates, and all of that kind have them at every width."""
    able = [one for one in explainers if isinstance(one, CERTIFIABLE)]
    if not able:
        known = " and ".join(one.__name__ for one in CERTIFIABLE)
        raise SpecError(f"certificates are known of {known} only, when they are smoothed; add one of them, or leave certified out")
    for one in able:
        for kernel in kernels:
            if kernel is not None:
                check_certifiable(model, Smoothed(one, kernel, samples), (eps,), CONFIDENCE, None, targets)


def _widths(given: Sequence[Kernel]) -> list[Kernel | None]:
    """Kernels of ascending width, width 0 first.

    Raises:
        SpecError: They are of several kinds, two have the same width, or there is none.
    """
    wide = [one for one in built("kernel", given, Kernel) if one.spread > 0]
    if len({type(one) for one in wide}) != 1:
        raise SpecError("the widths must be of one kind of kernel, at least one of them above 0")
    if len({one.spread for one in wide}) < len(wide):
        raise SpecError("two kernels have the same width; give each width once")
    return [None, *sorted(wide, key=width_of)]
