"""What a sweep over smoothing widths will do, checked before it does anything."""

from __future__ import annotations

from collections.abc import Sequence

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
from assay.study.frontier.sweep import CERTIFIABLE, CONFIDENCE, Sweep, width_of

__all__ = ["FAITHFULNESS", "SIGMAS", "check_sweep", "ordered_kernels"]

SIGMAS = (0.0, 0.01, 0.03, 0.1)
FAITHFULNESS: tuple[Measure, ...] = (
    LocalLinearError(radius=0.01, scaled=True, relative=True),
    LocalLinearError(radius=0.1, scaled=True, relative=True),
    Infidelity(scaled=True, relative=True),
    Deletion(),
    Insertion(),
)


def ordered_kernels(sigmas: Sequence[float] | None, kernels: Sequence[Kernel] | None) -> list[Kernel | None]:
    """Kernels of ascending width, width 0 first.

    Args:
        sigmas: Standard deviations of Gaussian kernels; those of `SIGMAS` where neither these nor `kernels` are given.
        kernels: In place of `sigmas`.

    Raises:
        SpecError: They are of several kinds, two have the same width, there is none, or both are given.
    """
    if sigmas is not None and kernels is not None:
        raise SpecError("give sigmas or kernels, not both")
    given = [Gaussian(float(one)) for one in (SIGMAS if sigmas is None else sigmas)] if kernels is None else kernels
    wide = [one for one in built("kernel", given, Kernel) if one.spread > 0]
    if len({type(one) for one in wide}) != 1:
        raise SpecError("the widths must be of one kind of kernel, at least one of them above 0")
    if len({one.spread for one in wide}) < len(wide):
        raise SpecError("two kernels have the same width; give each width once")
    return [None, *sorted(wide, key=width_of)]


def check_sweep(sweep: Sweep) -> None:
    """See that a sweep can be done.

    Raises:
        SpecError: Its parts make no sweep.
        ModelError: The model's gradients can have no certificate, and one is wanted.
    """
    built("explainer", sweep.explainers, Explainer)
    built("measure", sweep.faithfulness, Measure)
    wrong = [short(one) for one in sweep.faithfulness if one.category != "faithfulness" or one.needs]
    if wrong:
        raise SpecError(f"{wrong[0]} is no measure of faithfulness to the model alone; robustness is measured in any case")
    if not sweep.explainers or not sweep.faithfulness:
        raise SpecError("a frontier needs at least one explainer and one measure of faithfulness")
    for name, value, least in (("draws", sweep.draws, 1), ("attacked", sweep.attacked, 2), ("samples", sweep.samples, 1)):
        if value is not None and value < least:
            raise SpecError(f"{name} must be at least {least}, not {value}")
    if sweep.certified is not None:
        _check_certified(sweep, sweep.certified)
    assert len(sweep.robustness) in (0, 2)  # a distance that is no similarity is refused here


def _check_certified(sweep: Sweep, eps: float) -> None:
    """Raise SpecError or ModelError unless some explainer is of a kind with certificates, and all of that kind have them at every width."""
    able = [one for one in sweep.explainers if isinstance(one, CERTIFIABLE)]
    if not able:
        known = " and ".join(one.__name__ for one in CERTIFIABLE)
        raise SpecError(f"certificates are known of {known} only, when they are smoothed; add one of them, or leave certified out")
    for one in able:
        for kernel in sweep.kernels:
            if kernel is not None:
                smoothed = Smoothed(one, kernel, sweep.samples)
                check_certifiable(sweep.model, smoothed, (eps,), CONFIDENCE, None, sweep.targets.sample)
