"""Differentiable forms of explainers made of gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from assay.attack.forms import SumForm, Task, form
from assay.core.noise import derive
from assay.core.registry import short
from assay.errors import SpecError
from assay.explain.gradient import Gradient, GradientXInput
from assay.explain.kernels import draw
from assay.explain.path import IntegratedGradients, quadrature
from assay.explain.smooth import Smoothed, SmoothGrad

__all__: list[str] = []


class _Gradient(SumForm):
    holds = True

    def part(self, task: Task, pixels: Tensor, rows: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return task.soft.slopes(pixels, task.targets[rows])


class _GradientXInput(SumForm):
    holds = True

    def part(self, task: Task, pixels: Tensor, rows: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        logits, slopes = task.soft.slopes(pixels, task.targets[rows])
        return logits, slopes * pixels


@dataclass(frozen=True)
class _Path(SumForm):
    """The quadrature as it is: the correction that completes it is small and left to the judge; the baseline is held."""

    explainer: IntegratedGradients

    @property
    def each(self) -> int:  # type: ignore[override]
        return self.explainer.steps

    def part(self, task: Task, pixels: Tensor, rows: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        base = self.explainer.baseline.fill(pixels.detach(), task.index[rows], task.seed)
        points, weights = (
            torch.tensor(values, dtype=pixels.dtype, device=pixels.device)[sample].view(-1, 1, 1, 1)
            for values in quadrature(self.explainer.rule, self.explainer.steps)
        )
        way = pixels - base
        logits, slopes = task.soft.slopes(base + points * way, task.targets[rows])
        return logits, weights * slopes * way


@dataclass(frozen=True)
class _Smoothed(SumForm):
    """Noisy copies of an inner form, their noise drawn anew at every step."""

    explainer: Smoothed
    inner: SumForm
    copies: int

    @property
    def each(self) -> int:  # type: ignore[override]
        return self.copies * self.inner.each

    def part(self, task: Task, pixels: Tensor, rows: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        copy, shape = sample // self.inner.each, tuple(pixels.shape[1:])
        seed = derive(task.seed, "Smoothed.attacked")
        noise = draw(self.explainer.kernel, seed, "Smoothed", task.index[rows], copy, shape, self.explainer.antithetic)
        logits, parts = self.inner.part(task, pixels + noise, rows, sample % self.inner.each)
        return logits, parts / self.copies


@form.register
def _(explainer: Gradient, samples: int | None) -> SumForm:  # noqa: ARG001
    return _Gradient()


@form.register
def _(explainer: GradientXInput, samples: int | None) -> SumForm:  # noqa: ARG001
    return _GradientXInput()


@form.register
def _(explainer: IntegratedGradients, samples: int | None) -> SumForm:  # noqa: ARG001
    return _Path(explainer)


@form.register
def _(explainer: Smoothed, samples: int | None) -> SumForm:
    inner = form(explainer.explainer, samples)
    if not isinstance(inner, SumForm):
        raise SpecError(f"{short(explainer)} cannot be differentiated by MapAttack; attack it by BlackBoxMapAttack")
    return _Smoothed(explainer, inner, samples or explainer.count)


@form.register
def _(explainer: SmoothGrad, samples: int | None) -> SumForm:
    made = form(explainer.smoothed, samples)
    assert isinstance(made, SumForm)
    return made
