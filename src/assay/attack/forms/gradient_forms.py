"""Differentiable forms of explainers made of gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.attack.forms.form import Form, Step, SumForm, form
from assay.core.noise import derive
from assay.core.registry import short
from assay.errors import SpecError
from assay.explain.base import Explainer
from assay.explain.expected import ExpectedGradients
from assay.explain.gradient import Gradient, GradientXInput
from assay.explain.kernels import draw
from assay.explain.path import IntegratedGradients, quadrature
from assay.explain.smooth import Smoothed, SmoothGrad

__all__ = ["FORMS"]


class _Gradient(SumForm):
    holds = True

    def part(self, step: Step, pixels: Tensor, rows: Tensor, _sample: Tensor, /) -> tuple[Tensor, Tensor]:
        return step.soft.slopes(pixels, step.targets[rows])


class _GradientXInput(SumForm):
    holds = True

    def part(self, step: Step, pixels: Tensor, rows: Tensor, _sample: Tensor, /) -> tuple[Tensor, Tensor]:
        logits, slopes = step.soft.slopes(pixels, step.targets[rows])
        return logits, slopes * pixels


@dataclass(frozen=True)
class _Path(SumForm):
    """The quadrature as it is: the correction that completes it is small and left to the judge; the baseline is held."""

    explainer: IntegratedGradients

    @property
    def each(self) -> int:
        return self.explainer.steps

    def part(self, step: Step, pixels: Tensor, rows: Tensor, sample: Tensor, /) -> tuple[Tensor, Tensor]:
        base = self.explainer.baseline.fill(pixels.detach(), step.index[rows], step.seed)
        points, weights = (
            torch.tensor(values, dtype=pixels.dtype, device=pixels.device)[sample].view(-1, 1, 1, 1)
            for values in quadrature(self.explainer.rule, self.explainer.steps)
        )
        way = pixels - base
        logits, slopes = step.soft.slopes(base + points * way, step.targets[rows])
        return logits, weights * slopes * way


@dataclass(frozen=True)
class _Expected(SumForm):
    """Baselines and points, drawn anew at every step; baselines are held."""

    explainer: ExpectedGradients

    @property
    def each(self) -> int:
        return self.explainer.samples

    def part(self, step: Step, pixels: Tensor, rows: Tensor, sample: Tensor, /) -> tuple[Tensor, Tensor]:
        base, share = self.explainer.points(pixels.detach(), step.index[rows], sample, step.seed)
        way = pixels - base
        logits, slopes = step.soft.slopes(base + share * way, step.targets[rows])
        return logits, slopes * way / self.each


@dataclass(frozen=True)
class _Smoothed(SumForm):
    """Noisy copies of an inner form, their noise drawn anew at every step."""

    explainer: Smoothed
    inner: SumForm

    @property
    def each(self) -> int:
        return self.explainer.count * self.inner.each

    def part(self, step: Step, pixels: Tensor, rows: Tensor, sample: Tensor, /) -> tuple[Tensor, Tensor]:
        copy, shape = sample // self.inner.each, tuple(pixels.shape[1:])
        seed = derive(step.seed, "Smoothed.attacked")
        noise = draw(self.explainer.kernel, seed, "Smoothed", step.index[rows], copy, shape, self.explainer.antithetic)
        logits, parts = self.inner.part(step, pixels + noise, rows, sample % self.inner.each)
        return logits, parts / self.explainer.count


def _smoothed(explainer: Smoothed) -> SumForm:
    inner = form(explainer.explainer)
    if not isinstance(inner, SumForm):
        raise SpecError(f"{short(explainer)} cannot be differentiated by MapAttack; attack it by BlackBoxMapAttack")
    return _Smoothed(explainer, inner)


FORMS: dict[type[Explainer], Callable[[Any], Form]] = {
    Gradient: lambda _: _Gradient(),
    GradientXInput: lambda _: _GradientXInput(),
    IntegratedGradients: _Path,
    ExpectedGradients: _Expected,
    Smoothed: _smoothed,
    SmoothGrad: lambda explainer: _smoothed(explainer.smoothed),
}
"""What makes the form of an explainer, by its class."""
