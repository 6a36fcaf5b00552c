"""What `assay bench` checks beside speed: how true the faster ways are, and that memory is flat."""

from __future__ import annotations

import multiprocessing
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from scipy.stats import spearmanr
from torch import Tensor

from assay.bench.shapley_peers import by_segment, captum_shapley, missing, relative_error, shapiq_shapley
from assay.bench.speed import resident
from assay.core.progress import Progress, silent
from assay.data import choose, load, read
from assay.explain.base import Explainer
from assay.explain.path import IntegratedGradients
from assay.explain.smooth import SmoothGrad
from assay.explain.superpixels.segments import Grid
from assay.explain.superpixels.surrogate import KernelShap
from assay.models.classifier import Classifier
from assay.models.sources import checkpoint
from assay.study.audit.standard import EXPLAINERS
from assay.study.precision_choice import told_apart

__all__ = ["Check", "checks"]

_GRID = Grid(3, 4)


@dataclass(frozen=True)
class Check:
    """A figure that has to be at least, or at most, another.

    Attributes:
        name: What was measured.
        value: The figure.
        bound: What it is held against.
        at_least: Whether it has to be at least the bound, rather than at most.
        detail: How it was measured.
    """

    name: str
    value: float
    bound: float
    at_least: bool
    detail: str

    @property
    def met(self) -> bool:
        """Whether the figure keeps its bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def checks(images: int = 16, seed: int = 0, progress: Progress = silent) -> list[Check]:
    """Checks on the shipped Hard Digits network and test images.

    Args:
        images: Number of images.
        seed: Decides all randomness.
        progress: Called as work goes on.
    """
    data = load("hard-digits")
    batch = read(data, choose(data, images, seed)).images
    steps = (_bfloat16, _shapley, _completeness, _memory)
    found: list[Check] = []
    for place, step in enumerate(steps):
        progress("checks", place, len(steps))
        found += step(batch, seed)
    progress("checks", len(steps), len(steps))
    return found


def _bfloat16(images: Tensor, seed: int) -> list[Check]:
    plain, short = checkpoint.load("hard-digits"), checkpoint.load("hard-digits", precision="bfloat16")
    targets, index = plain.predict(images), torch.arange(len(images))
    found = []
    for explainer in EXPLAINERS:
        one, other = (told_apart(explainer, model, images, targets, index, seed).flatten(1) for model in (plain, short))
        agreement = sum(float(spearmanr(a, b).statistic) for a, b in zip(one, other, strict=True)) / len(images)
        name = type(explainer).__name__
        bound = 0.93 if name in ("Gradient", "GradientXInput") else 0.97
        found.append(Check(f"{name}: bfloat16 maps against float32", agreement, bound, True, "mean Spearman correlation"))
    return found


def _shapley(images: Tensor, seed: int) -> list[Check]:
    model = checkpoint.load("hard-digits")
    targets, labels = model.predict(images), _GRID.labels(images)

    def values(samples: int = 100, sampling: Literal["paired", "independent"] = "paired") -> Tensor:
        return by_segment(KernelShap(samples, _GRID, sampling=sampling)(model, images, targets, seed=seed), labels)

    exact = values(2**12)
    ours = relative_error(values(), exact)
    held = {"paired against independent": relative_error(values(sampling="independent"), exact)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for way in captum_shapley(model, images, targets, labels).values():
            held["ours against Captum's at 300"] = relative_error(way(300, seed), exact)
        found = {name: relative_error(way(100, seed), exact) for name, way in shapiq_shapley(model, images, targets, labels).items()}
    if found:
        best = min(found, key=found.__getitem__)
        held[f"ours against the best of shapiq's at 100 ({best})"] = found[best]
    detail = ", ".join(["12 superpixels, relative L2", *(f"{name} is not installed" for name in missing())])
    return [Check(f"KernelShap error at 100 samples: {name}", ours, bound, False, detail) for name, bound in held.items()]


def _completeness(images: Tensor, seed: int) -> list[Check]:
    model = checkpoint.load("hard-digits")
    targets = model.predict(images)
    fine = IntegratedGradients(steps=500, rule="midpoint", complete=False)(model, images, targets)

    def judged(explainer: IntegratedGradients) -> tuple[float, float]:
        maps = explainer(model, images, targets)
        residual = explainer.residual(model, images, maps, targets, seed=seed).abs().mean()
        error = ((maps - fine).flatten(1).norm(dim=1) / fine.flatten(1).norm(dim=1)).mean()
        return float(residual), float(error)

    ours, literal = IntegratedGradients(), IntegratedGradients(rule="gauss_legendre", complete=False)
    (residual, error), (_, error10), (residual20, _) = map(judged, (ours, literal, replace(literal, steps=20)))
    return [
        Check(
            "IntegratedGradients completeness residual: 10 steps against Captum's rule at 20",
            residual,
            residual20,
            False,
            "mean |f(x) - f(b) - sum|",
        ),
        Check(
            "IntegratedGradients error: 10 steps against Captum's rule at 10",
            error,
            error10,
            False,
            "relative L2 to 500 steps",
        ),
    ]


def _memory(images: Tensor, seed: int) -> list[Check]:
    # Of 16 images, so that both fill their chunks.
    few, many = (_peak(images, SmoothGrad(samples=samples), seed) for samples in (32, 3200))
    return [Check("SmoothGrad peak memory: 3200 samples over 32", many / few, 1.1, False, f"resident, {few:.0f} and {many:.0f} MiB")]


def _peak(images: Tensor, explainer: Explainer, seed: int) -> float:
    """Highest resident memory, in MiB, of a new process that explains the images."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return float(pool.apply(_explain_and_weigh, (images.numpy(), explainer, seed)))


def _explain_and_weigh(pixels: Any, explainer: Explainer, seed: int) -> float:
    model: Classifier = checkpoint.load("hard-digits")
    return resident(lambda: explainer(model, torch.from_numpy(pixels), seed=seed))[1]
