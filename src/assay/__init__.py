"""Assay: which feature attributions of an image classifier can be trusted, and models whose attributions can be."""

from importlib.metadata import version

from assay import data, errors
from assay.attack.base import Attack, AttackResult
from assay.attack.black_box import BlackBoxMapAttack
from assay.attack.distances import L2, SSIM, CentreShift, Cosine, Distance, Spearman, TopK
from assay.attack.goals import Goal, MapFile, MaximiseDistance, MoveCentre, PushOutTopK, ReachMap, Rectangle
from assay.attack.map_attack import MapAttack
from assay.attack.noise_attack import NoiseMapAttack
from assay.attack.optimiser import AdamAscent, SteepestAscent
from assay.attack.pgd import PGD, robust_accuracy
from assay.core.registry import build, register, registered
from assay.data.plant import plant
from assay.data.plant_marks import Glyph, Mark, NoisePatch, Patch, Stripe
from assay.explain.backgrounds import Background, Blur, Constant, MeanColour
from assay.explain.base import Explainer
from assay.explain.cam import GradCAM
from assay.explain.fullgrad import FullGrad, SimpleFullGrad
from assay.explain.gradient import Gradient, GradientXInput
from assay.explain.kernels import Gaussian, Kernel, Uniform
from assay.explain.path import IntegratedGradients
from assay.explain.random import RandomMap
from assay.explain.segments import Grid, Quickshift, Segments, Slic
from assay.explain.smooth import Smoothed, SmoothGrad
from assay.explain.surrogate import KernelShap, Lime
from assay.measure.agreement import model_agreement
from assay.measure.attacked import AttackCurve, AttackedSimilarity, attack_curve
from assay.measure.base import Measure
from assay.measure.erasure import erasure_agreement
from assay.measure.keep import KeepTop
from assay.measure.linearity import Infidelity, LocalLinearError
from assay.measure.localisation import DistractorShare, MaskIoU, TruthShare
from assay.measure.perturbation import Deletion, Insertion
from assay.measure.robustness import MaxSensitivity
from assay.models.checkpoint import load
from assay.models.classifier import Classifier
from assay.study.audit import Audit, audit
from assay.tune.diet import DiET, Tuned
from assay.tune.explainer import LearnedMask

__version__ = version("assay")

__all__ = [
    "L2",
    "PGD",
    "SSIM",
    "AdamAscent",
    "Attack",
    "AttackCurve",
    "AttackResult",
    "AttackedSimilarity",
    "Audit",
    "Background",
    "BlackBoxMapAttack",
    "Blur",
    "CentreShift",
    "Classifier",
    "Constant",
    "Cosine",
    "Deletion",
    "DiET",
    "Distance",
    "DistractorShare",
    "Explainer",
    "FullGrad",
    "Gaussian",
    "Glyph",
    "Goal",
    "GradCAM",
    "Gradient",
    "GradientXInput",
    "Grid",
    "Infidelity",
    "Insertion",
    "IntegratedGradients",
    "KeepTop",
    "Kernel",
    "KernelShap",
    "LearnedMask",
    "Lime",
    "LocalLinearError",
    "MapAttack",
    "MapFile",
    "Mark",
    "MaskIoU",
    "MaxSensitivity",
    "MaximiseDistance",
    "MeanColour",
    "Measure",
    "MoveCentre",
    "NoiseMapAttack",
    "NoisePatch",
    "Patch",
    "PushOutTopK",
    "Quickshift",
    "RandomMap",
    "ReachMap",
    "Rectangle",
    "Segments",
    "SimpleFullGrad",
    "Slic",
    "SmoothGrad",
    "Smoothed",
    "Spearman",
    "SteepestAscent",
    "Stripe",
    "TopK",
    "TruthShare",
    "Tuned",
    "Uniform",
    "attack_curve",
    "audit",
    "build",
    "data",
    "erasure_agreement",
    "errors",
    "load",
    "model_agreement",
    "plant",
    "register",
    "registered",
    "robust_accuracy",
]
