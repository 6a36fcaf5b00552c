"""The judge of attacks on maps: only the real model and the real explainer count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from assay.attack.ball import Ball
from assay.attack.goals import Goal
from assay.core import noise
from assay.core.inputs import check_finite
from assay.errors import ShapeError
from assay.explain.base import Explainer
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.models.targets import Decision

__all__ = ["Explain", "Judge", "Scene", "Seen", "clean_maps"]

_LEAST = 1e-6
"""Smallest tolerance that divides."""

Explain = Explainer | Callable[..., Tensor]
"""An explainer, or anything called as `explain(model, images, targets)` that gives maps (N, C, H, W)."""


@dataclass(frozen=True)
class Seen:
    """What the judge saw of n candidates: their maps and logits (n, K)."""

    maps: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Scene:
    """Everything of an attack that stays as it is.

    Attributes:
        case: The clean images.
        explainer: What is attacked.
        maps: Of the clean images.
        ball: What may be changed.
        goal: What is wanted.
        keep_class: Whether the predicted class must stay.
        tolerance: How far its probability, or value, may move; None for anywhere.
    """

    case: Case
    explainer: Explain
    maps: Tensor
    ball: Ball
    goal: Goal
    keep_class: bool
    tolerance: float | None

    @cached_property
    def decision(self) -> Decision:
        """What the model decides about the clean images; its ids (N,) are the classes, or findings, that must stay."""
        found = self.case.model.decide(self.case.logits, self.case.targets)
        return replace(found, ids=found.head.stake(found.outputs, found.ids))

    @cached_property
    def spread(self) -> Tensor:
        """Spread (N,) of the clean images' logits, which leads are measured by; see `Head.spread`."""
        return self.decision.head.spread(self.decision.outputs, self.decision.ids)

    @property
    def constrained(self) -> bool:
        """Whether anything of the prediction must stay."""
        return self.keep_class or self.tolerance is not None

    def explain(self, images: Tensor, rows: Tensor) -> Tensor:
        """Maps of changed images of `rows` (n,), targets and noise those of the clean ones."""
        return explained(self.explainer, self.case.model, images, self.case.targets[rows], self.case.index[rows], self.case.seed)

    def start(self, stream: str, restart: int) -> Tensor:
        """Random perturbations (N, C, H, W) to start from, others for every restart."""
        number = torch.full_like(self.case.index, restart)
        return self.ball.start(
            self.case.images, noise.normal(self.case.seed, stream, self.case.index, number, tuple(self.case.images.shape[1:]))
        )

    def lost(self, logits: Tensor, rows: Tensor, margin: float) -> Tensor:
        """How far (n,) `rows` are from safe: 0 with a lead of `margin` clean spreads and a probability near the clean one."""
        now, clean = self._decided(logits, rows)
        lost = torch.zeros(len(rows), device=logits.device)
        if self.constrained and clean.head.decides:
            lost = (margin - clean.head.lead(now.outputs, clean.ids, clean.outputs) / self.spread[rows]).clamp_min(0.0)
        if self.tolerance is not None:
            moved = (now.probability(clean.ids) - clean.probability(clean.ids)).abs()
            lost = lost + (moved / max(self.tolerance, _LEAST) - 0.5).clamp_min(0.0)
        return lost

    def worth(self, seen: Seen, rows: Tensor, margin: float, weight: float) -> Tensor:
        """The goal's smooth value (n,), less `weight` times what is `lost` of the prediction."""
        return self.goal.climb(self.maps[rows], seen.maps) - weight * self.lost(seen.logits, rows, margin)

    def held(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Which of `rows` (n,) keep the prediction at these logits (n, K)."""
        now, clean = self._decided(logits, rows)
        same = clean.head.agrees(now.outputs, clean.ids, clean.outputs)
        if self.tolerance is None:
            return same
        return same & ((now.probability(clean.ids) - clean.probability(clean.ids)).abs() <= self.tolerance)

    def _decided(self, logits: Tensor, rows: Tensor) -> tuple[Decision, Decision]:
        """What is decided about `rows` (n,) with these logits, and what was about the clean images."""
        known = self.decision
        return self.case.model.decide(logits, self.case.targets[rows]), Decision(known.head, known.outputs[rows], known.ids[rows])


class Judge:
    """Keeps for each image the best of what it was shown, the clean image until then.

    Attributes:
        images: (N, C, H, W).
        maps: Theirs.
        value: (N,) what the goal says of them.
        kept: (N,) bool, prediction kept, pixels in [0, 1] and inside the ball.
        climbed: (N,) bool, whether the search had anything to go by; an attack that needs a gradient says where it had none.
        moved: (N,) bool, whether any image that was shown has another map than the clean one.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.images, self.maps = scene.case.images.clone(), scene.maps.clone()
        self.value = torch.zeros(len(self.images), device=self.images.device)
        self.kept = torch.ones(len(self.images), dtype=torch.bool, device=self.images.device)
        self.climbed, self.moved = torch.ones_like(self.kept), torch.zeros_like(self.kept)

    def consider(self, rows: Tensor, pixels: Tensor) -> Seen:
        """Put changed images of `rows` (n,) back into the ball, judge them, and keep those that are better than all before."""
        scene = self.scene
        clean = scene.case.images[rows]
        moved = (clean + scene.ball.project(pixels - clean, clean)).clamp(0.0, 1.0)
        logits, maps = scene.case.model.unchecked_logits(moved), scene.explain(moved, rows)
        self.moved[rows] |= (maps != scene.maps[rows]).flatten(1).any(1)
        value = scene.goal.reached(scene.maps[rows], maps)
        kept = scene.held(logits, rows)
        sound = logits.flatten(1).isfinite().all(1) & maps.flatten(1).isfinite().all(1) & scene.ball.contains(moved - clean)
        better = sound & (value > self.value[rows])
        if scene.constrained:
            better &= kept
        chosen = rows[better]
        self.images[chosen], self.maps[chosen] = moved[better], maps[better]
        self.value[chosen], self.kept[chosen] = value[better], kept[better]
        return Seen(maps, logits)

    def short(self, rows: Tensor, stop: float | None) -> Tensor | None:
        """Which of `rows` (n,) have not reached `stop` yet; None for all."""
        return None if stop is None else self.value[rows] < stop


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


def clean_maps(case: Case, explainer: Explain) -> Tensor:
    """Maps to compare with.

    Raises:
        NotFiniteError: One is NaN or infinite.
    """
    return check_finite(explained(explainer, case.model, case.images, case.targets, case.index, case.seed), "the clean map")
