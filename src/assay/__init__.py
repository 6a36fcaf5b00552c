"""Assay: which feature attributions of an image classifier can be trusted, and models whose attributions can be."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # What type checkers and editors see; at run time each name is imported when it is first used.
    from assay import data as data
    from assay import errors as errors
    from assay.attack.base import Attack as Attack
    from assay.attack.base import AttackResult as AttackResult
    from assay.attack.black_box_attack import BlackBoxMapAttack as BlackBoxMapAttack
    from assay.attack.distances import L2 as L2
    from assay.attack.distances import SSIM as SSIM
    from assay.attack.distances import CentreShift as CentreShift
    from assay.attack.distances import Cosine as Cosine
    from assay.attack.distances import Distance as Distance
    from assay.attack.distances import Spearman as Spearman
    from assay.attack.distances import TopK as TopK
    from assay.attack.goals import Goal as Goal
    from assay.attack.goals import MapFile as MapFile
    from assay.attack.goals import MaximiseDistance as MaximiseDistance
    from assay.attack.goals import MoveCentre as MoveCentre
    from assay.attack.goals import PushOutTopK as PushOutTopK
    from assay.attack.goals import ReachMap as ReachMap
    from assay.attack.goals import Rectangle as Rectangle
    from assay.attack.map_attack import MapAttack as MapAttack
    from assay.attack.noise_attack import NoiseMapAttack as NoiseMapAttack
    from assay.attack.optimiser import AdamAscent as AdamAscent
    from assay.attack.optimiser import SteepestAscent as SteepestAscent
    from assay.attack.predictions.apgd import APGD as APGD
    from assay.attack.predictions.ensemble import AttackEnsemble as AttackEnsemble
    from assay.attack.predictions.ensemble import robust_accuracy as robust_accuracy
    from assay.attack.predictions.pgd import PGD as PGD
    from assay.attack.predictions.square import SquareAttack as SquareAttack
    from assay.bounds.certificate import Certificate as Certificate
    from assay.bounds.certify import certify as certify
    from assay.comparison.compare import compare as compare
    from assay.core.registry import build as build
    from assay.core.registry import register as register
    from assay.core.registry import registered as registered
    from assay.data.truth.plant import plant as plant
    from assay.data.truth.plant_marks import Glyph as Glyph
    from assay.data.truth.plant_marks import Mark as Mark
    from assay.data.truth.plant_marks import NoisePatch as NoisePatch
    from assay.data.truth.plant_marks import Patch as Patch
    from assay.data.truth.plant_marks import Stripe as Stripe
    from assay.errors import AssayError as AssayError
    from assay.explain.adapters.given import Given as Given
    from assay.explain.adapters.wrap import wrap as wrap
    from assay.explain.backgrounds import Background as Background
    from assay.explain.backgrounds import Blur as Blur
    from assay.explain.backgrounds import Constant as Constant
    from assay.explain.backgrounds import MeanColour as MeanColour
    from assay.explain.base import Explainer as Explainer
    from assay.explain.controls import Centre as Centre
    from assay.explain.controls import ColourContrast as ColourContrast
    from assay.explain.controls import Edges as Edges
    from assay.explain.controls import RandomMap as RandomMap
    from assay.explain.expected import ExpectedGradients as ExpectedGradients
    from assay.explain.expected import VarGrad as VarGrad
    from assay.explain.features.attention import AttentionRelevance as AttentionRelevance
    from assay.explain.features.attention import AttentionRollout as AttentionRollout
    from assay.explain.features.cam import GradCAM as GradCAM
    from assay.explain.features.cam import GradCAMpp as GradCAMpp
    from assay.explain.features.cam import LayerCAM as LayerCAM
    from assay.explain.features.fullgrad import FullGrad as FullGrad
    from assay.explain.features.fullgrad import SimpleFullGrad as SimpleFullGrad
    from assay.explain.features.guided import GuidedBackprop as GuidedBackprop
    from assay.explain.gradient import Gradient as Gradient
    from assay.explain.gradient import GradientXInput as GradientXInput
    from assay.explain.kernels import Gaussian as Gaussian
    from assay.explain.kernels import Kernel as Kernel
    from assay.explain.kernels import Laplace as Laplace
    from assay.explain.kernels import Student as Student
    from assay.explain.kernels import Uniform as Uniform
    from assay.explain.occlusion import Occlusion as Occlusion
    from assay.explain.path import IntegratedGradients as IntegratedGradients
    from assay.explain.references import References as References
    from assay.explain.refine import Refined as Refined
    from assay.explain.smooth import Smoothed as Smoothed
    from assay.explain.smooth import SmoothGrad as SmoothGrad
    from assay.explain.smoothed_model import SmoothedModel as SmoothedModel
    from assay.explain.sparse import Sparsified as Sparsified
    from assay.explain.superpixels.permutations import ShapleySampling as ShapleySampling
    from assay.explain.superpixels.posterior import Posterior as Posterior
    from assay.explain.superpixels.rise import Rise as Rise
    from assay.explain.superpixels.segments import Grid as Grid
    from assay.explain.superpixels.segments import Quickshift as Quickshift
    from assay.explain.superpixels.segments import Segments as Segments
    from assay.explain.superpixels.segments import Slic as Slic
    from assay.explain.superpixels.segments import Superpixels as Superpixels
    from assay.explain.superpixels.surrogate import KernelShap as KernelShap
    from assay.explain.superpixels.surrogate import Lime as Lime
    from assay.measure.agreement import model_agreement as model_agreement
    from assay.measure.attacked import AttackCurve as AttackCurve
    from assay.measure.attacked import AttackedSimilarity as AttackedSimilarity
    from assay.measure.attacked import attack_curve as attack_curve
    from assay.measure.base import Measure as Measure
    from assay.measure.contribution import MarginalContribution as MarginalContribution
    from assay.measure.contribution import SingleDeletion as SingleDeletion
    from assay.measure.erasure import erasure_agreement as erasure_agreement
    from assay.measure.keep import KeepTop as KeepTop
    from assay.measure.linearity import Infidelity as Infidelity
    from assay.measure.linearity import LocalLinearError as LocalLinearError
    from assay.measure.localisation import DistractorShare as DistractorShare
    from assay.measure.localisation import MaskIoU as MaskIoU
    from assay.measure.localisation import PointingGame as PointingGame
    from assay.measure.localisation import TruthShare as TruthShare
    from assay.measure.perturbation import Deletion as Deletion
    from assay.measure.perturbation import Insertion as Insertion
    from assay.measure.road import Road as Road
    from assay.measure.robustness import LocalLipschitz as LocalLipschitz
    from assay.measure.robustness import MaxSensitivity as MaxSensitivity
    from assay.measure.sanity import EfficientParameterRandomisation as EfficientParameterRandomisation
    from assay.measure.sanity import ParameterRandomisation as ParameterRandomisation
    from assay.measure.sanity import RandomTarget as RandomTarget
    from assay.models.classifier import Classifier as Classifier
    from assay.models.sources.checkpoint import load as load
    from assay.models.sources.spec import model as model
    from assay.models.targets import Contrast as Contrast
    from assay.models.targets import Logit as Logit
    from assay.models.targets import Mean as Mean
    from assay.models.targets import Probability as Probability
    from assay.report.figures.show import show as show
    from assay.study.audit.audit import Audit as Audit
    from assay.study.audit.study import audit as audit
    from assay.study.frontier.frontier import Frontier as Frontier
    from assay.study.frontier.frontier import plot_frontiers as plot_frontiers
    from assay.study.frontier.study import frontier as frontier
    from assay.study.frontier.tables import Knee as Knee
    from assay.tune.amortised import MaskTraining as MaskTraining
    from assay.tune.choice import LastRound as LastRound
    from assay.tune.choice import LastSound as LastSound
    from assay.tune.choice import RoundK as RoundK
    from assay.tune.diet import DiET as DiET
    from assay.tune.diet import Tuned as Tuned
    from assay.tune.drawn_backgrounds import DatasetMean as DatasetMean
    from assay.tune.drawn_backgrounds import GaussianNoise as GaussianNoise
    from assay.tune.drawn_backgrounds import OneOf as OneOf
    from assay.tune.drawn_backgrounds import OtherImages as OtherImages
    from assay.tune.drawn_backgrounds import RandomColour as RandomColour
    from assay.tune.explainer import LearnedMask as LearnedMask
    from assay.tune.schedules import Carried as Carried
    from assay.tune.schedules import Converged as Converged
    from assay.tune.schedules import Epochs as Epochs
    from assay.tune.schedules import Falling as Falling
    from assay.tune.schedules import Rounded as Rounded

__version__ = version("assay")

_HOMES = {
    "Carried": "assay.tune.schedules",
    "Converged": "assay.tune.schedules",
    "Epochs": "assay.tune.schedules",
    "Falling": "assay.tune.schedules",
    "Rounded": "assay.tune.schedules",
    "LastRound": "assay.tune.choice",
    "LastSound": "assay.tune.choice",
    "RoundK": "assay.tune.choice",
    "MaskTraining": "assay.tune.amortised",
    "DatasetMean": "assay.tune.drawn_backgrounds",
    "GaussianNoise": "assay.tune.drawn_backgrounds",
    "OneOf": "assay.tune.drawn_backgrounds",
    "OtherImages": "assay.tune.drawn_backgrounds",
    "RandomColour": "assay.tune.drawn_backgrounds",
    "APGD": "assay.attack.predictions.apgd",
    "L2": "assay.attack.distances",
    "PGD": "assay.attack.predictions.pgd",
    "SSIM": "assay.attack.distances",
    "AdamAscent": "assay.attack.optimiser",
    "AssayError": "assay.errors",
    "Attack": "assay.attack.base",
    "AttackCurve": "assay.measure.attacked",
    "AttackEnsemble": "assay.attack.predictions.ensemble",
    "AttackResult": "assay.attack.base",
    "AttackedSimilarity": "assay.measure.attacked",
    "Audit": "assay.study.audit.audit",
    "Background": "assay.explain.backgrounds",
    "BlackBoxMapAttack": "assay.attack.black_box_attack",
    "Blur": "assay.explain.backgrounds",
    "Centre": "assay.explain.controls",
    "CentreShift": "assay.attack.distances",
    "Certificate": "assay.bounds.certificate",
    "Classifier": "assay.models.classifier",
    "ColourContrast": "assay.explain.controls",
    "Constant": "assay.explain.backgrounds",
    "Contrast": "assay.models.targets",
    "Cosine": "assay.attack.distances",
    "Deletion": "assay.measure.perturbation",
    "DiET": "assay.tune.diet",
    "Distance": "assay.attack.distances",
    "DistractorShare": "assay.measure.localisation",
    "Edges": "assay.explain.controls",
    "EfficientParameterRandomisation": "assay.measure.sanity",
    "Explainer": "assay.explain.base",
    "Frontier": "assay.study.frontier.frontier",
    "FullGrad": "assay.explain.features.fullgrad",
    "Gaussian": "assay.explain.kernels",
    "Given": "assay.explain.adapters.given",
    "Glyph": "assay.data.truth.plant_marks",
    "Goal": "assay.attack.goals",
    "AttentionRelevance": "assay.explain.features.attention",
    "AttentionRollout": "assay.explain.features.attention",
    "ExpectedGradients": "assay.explain.expected",
    "VarGrad": "assay.explain.expected",
    "GradCAMpp": "assay.explain.features.cam",
    "LayerCAM": "assay.explain.features.cam",
    "GuidedBackprop": "assay.explain.features.guided",
    "References": "assay.explain.references",
    "Rise": "assay.explain.superpixels.rise",
    "ShapleySampling": "assay.explain.superpixels.permutations",
    "GradCAM": "assay.explain.features.cam",
    "Gradient": "assay.explain.gradient",
    "GradientXInput": "assay.explain.gradient",
    "Grid": "assay.explain.superpixels.segments",
    "Infidelity": "assay.measure.linearity",
    "Insertion": "assay.measure.perturbation",
    "IntegratedGradients": "assay.explain.path",
    "KeepTop": "assay.measure.keep",
    "Kernel": "assay.explain.kernels",
    "KernelShap": "assay.explain.superpixels.surrogate",
    "Knee": "assay.study.frontier.tables",
    "LearnedMask": "assay.tune.explainer",
    "Laplace": "assay.explain.kernels",
    "Lime": "assay.explain.superpixels.surrogate",
    "LocalLinearError": "assay.measure.linearity",
    "Logit": "assay.models.targets",
    "LocalLipschitz": "assay.measure.robustness",
    "MapAttack": "assay.attack.map_attack",
    "MapFile": "assay.attack.goals",
    "MarginalContribution": "assay.measure.contribution",
    "Mark": "assay.data.truth.plant_marks",
    "MaskIoU": "assay.measure.localisation",
    "MaxSensitivity": "assay.measure.robustness",
    "MaximiseDistance": "assay.attack.goals",
    "Mean": "assay.models.targets",
    "MeanColour": "assay.explain.backgrounds",
    "Measure": "assay.measure.base",
    "MoveCentre": "assay.attack.goals",
    "NoiseMapAttack": "assay.attack.noise_attack",
    "NoisePatch": "assay.data.truth.plant_marks",
    "Occlusion": "assay.explain.occlusion",
    "ParameterRandomisation": "assay.measure.sanity",
    "Patch": "assay.data.truth.plant_marks",
    "Probability": "assay.models.targets",
    "PointingGame": "assay.measure.localisation",
    "Posterior": "assay.explain.superpixels.posterior",
    "PushOutTopK": "assay.attack.goals",
    "Quickshift": "assay.explain.superpixels.segments",
    "RandomMap": "assay.explain.controls",
    "Refined": "assay.explain.refine",
    "RandomTarget": "assay.measure.sanity",
    "ReachMap": "assay.attack.goals",
    "Rectangle": "assay.attack.goals",
    "Road": "assay.measure.road",
    "Segments": "assay.explain.superpixels.segments",
    "SimpleFullGrad": "assay.explain.features.fullgrad",
    "SingleDeletion": "assay.measure.contribution",
    "Slic": "assay.explain.superpixels.segments",
    "Superpixels": "assay.explain.superpixels.segments",
    "SmoothGrad": "assay.explain.smooth",
    "Smoothed": "assay.explain.smooth",
    "SmoothedModel": "assay.explain.smoothed_model",
    "Sparsified": "assay.explain.sparse",
    "Spearman": "assay.attack.distances",
    "SquareAttack": "assay.attack.predictions.square",
    "SteepestAscent": "assay.attack.optimiser",
    "Stripe": "assay.data.truth.plant_marks",
    "Student": "assay.explain.kernels",
    "TopK": "assay.attack.distances",
    "TruthShare": "assay.measure.localisation",
    "Tuned": "assay.tune.diet",
    "Uniform": "assay.explain.kernels",
    "attack_curve": "assay.measure.attacked",
    "audit": "assay.study.audit.study",
    "build": "assay.core.registry",
    "certify": "assay.bounds.certify",
    "compare": "assay.comparison.compare",
    "data": "assay.data",
    "erasure_agreement": "assay.measure.erasure",
    "errors": "assay.errors",
    "frontier": "assay.study.frontier.study",
    "load": "assay.models.sources.checkpoint",
    "model": "assay.models.sources.spec",
    "model_agreement": "assay.measure.agreement",
    "plant": "assay.data.truth.plant",
    "plot_frontiers": "assay.study.frontier.frontier",
    "register": "assay.core.registry",
    "registered": "assay.core.registry",
    "robust_accuracy": "assay.attack.predictions.ensemble",
    "show": "assay.report.figures.show",
    "wrap": "assay.explain.adapters.wrap",
}
"""The module that each public name comes from; the two of that name are modules themselves."""

__all__ = list(_HOMES)

if not TYPE_CHECKING:  # A checker would take any name for one of the package's.

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = import_module(_HOMES[name])
        found = home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
