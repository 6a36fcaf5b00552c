"""The judge of attacks on maps: only the real model and the real explainer count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.attack.ball import Ball
from assay.attack.goals import Goal
from assay.core.inputs import check_finite
from assay.errors import ShapeError
from assay.explain.base import Explainer
from assay.models.classifier import Classifier

__all__ = ["Explain", "Judge", "Scene"]

Explain = Explainer | Callable[..., Tensor]
"""An explainer, or anything called as `explain(model, images, targets)` that gives maps (N, C, H, W)."""


@dataclass(frozen=True)
class Scene:
    """Everything of an attack that stays as it is.

    Attributes:
        model: The model.
        explainer: What is attacked.
        images: (N, C, H, W), clean, on the model's device.
        targets: (N,) explained classes.
        index: (N,) the images' global numbers.
        seed: Decides all randomness, together with `index`.
        logits: (N, K) of the clean images.
        maps: Of the clean images.
        ball: What may be changed.
        goal: What is wanted.
        keep_class: Whether the predicted class must stay.
        tolerance: How far its probability may move; None for anywhere.
    """

    model: Classifier
    explainer: Explain
    images: Tensor
    targets: Tensor
    index: Tensor
    seed: int
    logits: Tensor
    maps: Tensor
    ball: Ball
    goal: Goal
    keep_class: bool
    tolerance: float | None

    @property
    def classes(self) -> Tensor:
        """Predicted classes (N,) of the clean images."""
        return self.logits.argmax(1)

    def explain(self, images: Tensor, rows: Tensor) -> Tensor:
        """Maps of changed images of `rows` (n,), targets and noise those of the clean ones."""
        return explained(self.explainer, self.model, images, self.targets[rows], self.index[rows], self.seed)

    def held(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Which of `rows` (n,) keep the prediction at these logits (n, K)."""
        classes = self.classes[rows]
        same = logits.argmax(1) == classes
        if self.tolerance is None:
            return same
        moved, clean = (one.softmax(1).gather(1, classes[:, None])[:, 0] for one in (logits, self.logits[rows]))
        return same & ((moved - clean).abs() <= self.tolerance)


class Judge:
    """Keeps for each image the best of what it was shown, the clean image until then.

    Attributes:
        images: (N, C, H, W).
        maps: Theirs.
        value: (N,) what the goal says of them.
        kept: (N,) bool, prediction kept, pixels in [0, 1] and inside the ball.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.images, self.maps = scene.images.clone(), scene.maps.clone()
        self.value = torch.zeros(len(self.images), device=self.images.device)
        self.kept = torch.ones(len(self.images), dtype=torch.bool, device=self.images.device)

    def consider(self, rows: Tensor, pixels: Tensor) -> Tensor:
        """Put changed images of `rows` (n,) back into the ball, judge them, and keep those that are better; (n,) bool says which."""
        scene = self.scene
        clean = scene.images[rows]
        moved = (clean + scene.ball.project(pixels - clean, clean)).clamp(0.0, 1.0)
        logits, maps = scene.model.unchecked_logits(moved), scene.explain(moved, rows)
        value = scene.goal.reached(scene.maps[rows], maps)
        kept = scene.held(logits, rows) & logits.isfinite().all(1) & scene.ball.contains(moved - clean)
        better = (value > self.value[rows]) & maps.flatten(1).isfinite().all(1)
        better &= kept if scene.keep_class or scene.tolerance is not None else True
        chosen = rows[better]
        self.images[chosen], self.maps[chosen] = moved[better], maps[better]
        self.value[chosen], self.kept[chosen] = value[better], kept[better]
        return better


def explained(explainer: Explain, model: Classifier, images: Tensor, targets: Tensor, index: Tensor, seed: int) -> Tensor:
    """Maps by an explainer, or by a callable, whose maps are checked for their shape.

    Raises:
        ShapeError: The callable's maps do not fit the images.
    """
    if isinstance(explainer, Explainer):
        return explainer.attribute(model, images, targets, index, seed)
    maps = explainer(model, images, targets)
    if not isinstance(maps, Tensor) or maps.ndim != 4 or (len(maps), *maps.shape[2:]) != (len(images), *images.shape[2:]):
        found = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ShapeError(f"the explainer must give maps (N, C, H, W) for images of shape {tuple(images.shape)}, not {found}")
    return maps.detach().to(images.device, torch.float32)


def clean_maps(explainer: Explain, model: Classifier, images: Tensor, targets: Tensor, index: Tensor, seed: int) -> Tensor:
    """Maps to compare with.

    Raises:
        NotFiniteError: One is NaN or infinite.
    """
    return check_finite(explained(explainer, model, images, targets, index, seed), "the clean map")
