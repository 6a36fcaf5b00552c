"""What the paper prints, to hold our figures against.

Source: Tan and Tian, ICML 2023, table 1, read in the authors' manuscript.
"""

from __future__ import annotations

from assay.explain.base import Explainer
from assay.explain.gradient import Gradient, GradientXInput
from assay.explain.path import IntegratedGradients
from assay.explain.smooth import SmoothGrad
from assay.explain.superpixels.surrogate import KernelShap, Lime

__all__ = ["PAPER_NAMES", "PRINTED_EXPLAINERS", "RANKS", "TABLE_1"]

PAPER_NAMES: dict[type[Explainer], str] = {
    Gradient: "Grad",
    GradientXInput: "GI",
    IntegratedGradients: "IG",
    SmoothGrad: "SG",
    Lime: "LIME",
    KernelShap: "SHAP",
}
"""The paper's short names of its explainers."""
PRINTED_EXPLAINERS = tuple(PAPER_NAMES.values())

TABLE_1: dict[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "swin-cifar10": ("Swin-T", (6.556, 3.163, 1.140, 4.590, 1.558, 0.240), (0.084, 0.044, 0.107, 0.087, 0.566, 0.012)),
    "vgg-cifar10": ("VGG16", (17.318, 8.171, 6.463, 9.937, 7.883, 0.832), (0.414, 0.207, 0.459, 0.302, 1.215, 0.304)),
    "resnet-cifar10": ("ResNet18", (23.835, 11.394, 6.723, 10.894, 8.401, 0.571), (0.724, 0.357, 0.699, 0.535, 1.341, 0.334)),
    "bottleneck-cifar10": ("ResNet50", (29.859, 14.043, 7.211, 12.525, 6.695, 0.490), (0.860, 0.423, 0.982, 0.637, 1.536, 0.382)),
    "googlenet-cifar10": ("GoogLeNet", (34.415, 16.315, 7.442, 13.134, 6.540, 0.599), (1.184, 0.575, 1.021, 0.859, 1.381, 0.315)),
}
"""By our name of the backbone: the paper's, and the mean local Lipschitz constants of `EXPLAINERS` on the standard and robust network."""
RANKS = {"standard": (1.0, 1.0, 1.0, 1.0, 0.1, 0.3), "robust": (1.0, 1.0, 1.0, 1.0, 0.9, 0.7)}
"""Spearman's correlation over the backbones between the robustness of the model and that of `EXPLAINERS`."""
