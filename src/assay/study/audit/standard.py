"""What an audit takes where nothing else is asked for."""

from __future__ import annotations

from assay.explain.base import Explainer
from assay.explain.controls import RandomMap
from assay.explain.gradient import Gradient, GradientXInput
from assay.explain.path import IntegratedGradients
from assay.explain.smooth import SmoothGrad
from assay.explain.superpixels.segments import Quickshift
from assay.explain.superpixels.surrogate import KernelShap, Lime
from assay.measure.base import Measure
from assay.measure.contribution import SingleDeletion
from assay.measure.linearity import Infidelity, LocalLinearError
from assay.measure.localisation import MaskIoU
from assay.measure.perturbation import Deletion, Insertion
from assay.measure.robustness import MaxSensitivity

__all__ = ["EXPLAINERS", "FLOOR", "MEASURES", "PAPER_EXPLAINERS"]

FLOOR = RandomMap()
"""What every explainer must beat."""
EXPLAINERS: tuple[Explainer, ...] = (Gradient(), GradientXInput(), IntegratedGradients(), SmoothGrad(), Lime(), KernelShap())
PAPER_EXPLAINERS: tuple[Explainer, ...] = (
    Gradient(),
    GradientXInput(),
    IntegratedGradients(rule="gauss_legendre", complete=False),
    SmoothGrad(antithetic=False),
    Lime(segments=Quickshift()),
    KernelShap(segments=Quickshift(), sampling="independent"),
)
"""The same six as the robustness paper ran them, without what makes ours better at equal passes."""
MEASURES: tuple[Measure, ...] = (
    Deletion(),
    Insertion(),
    SingleDeletion(),
    Infidelity(scaled=True, relative=True),
    LocalLinearError(scaled=True, relative=True),
    MaxSensitivity(),
    MaskIoU(),
)
