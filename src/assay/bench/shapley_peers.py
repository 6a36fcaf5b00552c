"""Shapley values of superpixels by peers: Captum's KernelShap and shapiq's approximators, with what their authors advise."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.models.classifier import Classifier

__all__ = ["Way", "by_segment", "captum_shapley", "missing", "relative_error", "shapiq_shapley"]

Way = Callable[[int, int], Tensor]
"""From passes and a seed to Shapley values (N, segments)."""


def missing() -> list[str]:
    """Which of the libraries that these peers need are not installed."""
    needed = {"Captum": "captum", "shapiq": "shapiq", "LightGBM, for ProxySPEX": "lightgbm"}
    return [name for name, module in needed.items() if importlib.util.find_spec(module) is None]


def relative_error(found: Tensor, truth: Tensor) -> float:
    """Mean over images of the norm of the difference over the norm of the true values (N, segments)."""
    return float(((found - truth).norm(dim=1) / truth.norm(dim=1)).mean())


def by_segment(maps: Tensor, labels: Tensor) -> Tensor:
    """The segments' values (N, segments), which every pixel of a segment bears in maps (N, 1, H, W), from labels (N, H, W)."""
    return torch.zeros(len(maps), int(labels.max()) + 1).scatter_(1, labels.flatten(1), maps[:, 0].flatten(1))


def captum_shapley(model: Classifier, images: Tensor, targets: Tensor, labels: Tensor) -> dict[str, Way]:
    """Captum's KernelShap, of segments (N, H, W) that are black where absent; empty where Captum is not installed."""
    if importlib.util.find_spec("captum") is None:
        return {}
    from captum.attr import KernelShap

    def run(passes: int, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            method = KernelShap(lambda x: model.forward(x).detach())
            found = [
                method.attribute(one[None], target=int(target), feature_mask=label[None, None], n_samples=passes, perturbations_per_eval=50)
                for one, target, label in zip(images, targets, labels, strict=True)
            ]
        return by_segment(torch.cat(found)[:, :1], labels)

    return {"Captum": run}


def shapiq_shapley(model: Classifier, images: Tensor, targets: Tensor, labels: Tensor) -> dict[str, Way]:
    """Shapiq's approximators of the same values; empty where it is not installed.

    KernelSHAP in pairs, by the weights it was published with and by leverage scores (every size of coalition as often), kADDSHAP, and
    ProxySPEX, which fits trees and needs LightGBM.
    """
    if importlib.util.find_spec("shapiq") is None:
        return {}
    from shapiq import approximator as peers

    segments = int(labels.max()) + 1
    level = np.ones(segments + 1)
    made: dict[str, Callable[[int], Any]] = {
        "KernelSHAP": lambda seed: peers.KernelSHAP(segments, pairing_trick=True, random_state=seed),
        "KernelSHAP by leverage": lambda seed: peers.KernelSHAP(segments, pairing_trick=True, sampling_weights=level, random_state=seed),
        "kADDSHAP": lambda seed: peers.kADDSHAP(segments, max_order=2, pairing_trick=True, random_state=seed),
    }
    if importlib.util.find_spec("lightgbm") is not None:
        made["ProxySPEX"] = lambda seed: peers.ProxySPEX(n=segments, index="SV", max_order=1, random_state=seed)

    def way(make: Callable[[int], Any]) -> Way:
        def run(passes: int, seed: int) -> Tensor:
            rows = []
            for one, target, label in zip(images, targets, labels, strict=True):
                found = make(seed).approximate(budget=passes, game=_game(model, one, int(target), label))
                rows.append([float(found[(player,)]) for player in range(segments)])
            return torch.tensor(rows)

        return run

    return {name: way(make) for name, make in made.items()}


def _game(model: Classifier, image: Tensor, target: int, labels: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """One image as a game of its segments, as shapiq wants it: coalitions (M, n) of bool to scores (M,)."""

    def play(coalitions: np.ndarray) -> np.ndarray:
        kept = torch.from_numpy(np.asarray(coalitions, bool))[:, labels]
        return model.unchecked_logits(image * kept[:, None])[:, target].double().numpy()

    return play
