"""Differentiable forms of explainers that look at layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from assay.attack.forms.form import Form, Step, SumForm
from assay.explain.base import Explainer
from assay.explain.features.cam import GradCAM, GradCAMpp, LayerCAM, grad_cam, grad_cam_pp, layer_cam, layer_for
from assay.explain.features.fullgrad import FullGrad, SimpleFullGrad, Watch, rescaled
from assay.explain.features.layers import layout_of, uncompiled, watched

__all__ = ["FORMS"]


@dataclass(frozen=True)
class _Cam(SumForm):
    """The features and their gradients both follow the pixels."""

    explainer: GradCAM | GradCAMpp | LayerCAM
    holds = True

    def part(self, step: Step, pixels: Tensor, rows: Tensor, _sample: Tensor, /) -> tuple[Tensor, Tensor]:
        soft, shape = step.soft, pixels.shape[1:]
        layer = layer_for(soft, shape, self.explainer.layer)
        layout = layout_of(soft, layer, shape)
        seen: list[Tensor] = []

        def branch(output: Any) -> Tensor | None:
            if not layout.fits(output, len(pixels)):
                return None
            seen[:] = [output]
            copied: Tensor = output.clone()  # So that what works in place on the output leaves the features as they were.
            return copied

        with watched(soft, {layer: branch}):
            logits = soft.forward(pixels)
        slope = soft.graded(soft.score(logits, step.targets[rows]).sum(), seen[0])
        soft.passes.backward += len(pixels)
        small = _COMBINE[type(self.explainer)](layout.grid(seen[0]), layout.grid(slope))
        return logits, interpolate(small, tuple(shape[1:]), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class _FullGrad(SumForm):
    """The gradients at input and layers follow the pixels; what they are multiplied with is held, biases being constant anyway."""

    explainer: FullGrad | SimpleFullGrad
    holds = True

    def part(self, step: Step, pixels: Tensor, rows: Tensor, _sample: Tensor, /) -> tuple[Tensor, Tensor]:
        soft, size = step.soft, (pixels.shape[2], pixels.shape[3])
        parts: list[Tensor] = []

        def see(slopes: Tensor, factor: Tensor, is_input: bool) -> None:
            if slopes.ndim == 4:
                term = slopes * factor if is_input or isinstance(self.explainer, FullGrad) else slopes
                parts.append(interpolate(rescaled(term, self.explainer.scaling), size, mode="bilinear", align_corners=False))

        watch = Watch(soft.name, see)
        with uncompiled(soft), soft.module.register_forward_pre_hook(watch.enter), watch:
            logits, _ = soft.slopes(pixels, step.targets[rows])
        return logits, torch.stack(parts).sum(0)


_COMBINE: dict[type[Explainer], Callable[[Tensor, Tensor], Tensor]] = {GradCAM: grad_cam, GradCAMpp: grad_cam_pp, LayerCAM: layer_cam}

FORMS: dict[type[Explainer], Callable[[Any], Form]] = {**dict.fromkeys(_COMBINE, _Cam), FullGrad: _FullGrad, SimpleFullGrad: _FullGrad}
"""What makes the form of an explainer, by its class."""
