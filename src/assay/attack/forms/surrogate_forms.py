"""Differentiable forms of LIME, KernelSHAP and occlusion: with superpixels, coalitions and their weights held, linear in the scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from assay.attack.forms.form import Form, Step
from assay.explain.backgrounds import Background, background_scores
from assay.explain.base import Explainer
from assay.explain.occlusion import Occlusion, all_but_one
from assay.explain.superpixels import coalitions
from assay.explain.superpixels.coalitions import Coalitions
from assay.explain.superpixels.permutations import ShapleySampling, orders_drawn, prefixes, shares
from assay.explain.superpixels.segments import Segments
from assay.explain.superpixels.surrogate import KernelShap, Lime, cosine_distances
from assay.models.passes import gradients, segment_sum

__all__ = ["FORMS"]


@dataclass(frozen=True)
class _Drawn:
    """What is held at one step: superpixels (N, H, W), their numbers (N,), backgrounds and coalitions."""

    labels: Tensor
    counts: Tensor
    filled: Tensor
    members: Coalitions


class _Surrogate(Form):
    """The fit's gradient at the scores weighs each coalition's gradient at its pixels; first derivatives suffice."""

    merges: ClassVar[bool] = True
    """Whether equal coalitions are run once."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Segments, Background]:
        """The explainer's superpixels and background."""

    @abstractmethod
    def draw(self, step: Step, counts: Tensor) -> Coalitions:
        """Coalitions for images with `counts` (N,) superpixels."""

    @abstractmethod
    def fit(self, step: Step, drawn: _Drawn, scores: Tensor, full: Tensor, /) -> Tensor:
        """Coefficients (N, n), differentiable in the coalitions' scores (N, S) and the images' own (N,)."""

    def pull(self, step: Step) -> Tensor:
        """See `Form.pull`."""
        drawn = self._drawn(step)
        scores = coalitions.run_coalitions(step.model, step.images, step.targets, drawn.labels, drawn.filled, drawn.members)
        full = step.model.score(step.model.unchecked_logits(step.images), step.targets)
        with torch.inference_mode(False), torch.enable_grad():
            scores, full = scores.clone().requires_grad_(), full.clone().requires_grad_()
            fitted = self.fit(step, drawn, scores, full)
            maps = fitted.gather(1, drawn.labels.flatten(1)).view(len(full), 1, *drawn.labels.shape[1:])
            vector = step.steer(maps.detach(), torch.arange(len(full), device=full.device))
            pulls = torch.autograd.grad((maps * vector).sum(), [scores, full], allow_unused=True)
        found = torch.zeros_like(step.images)
        _pull_scores(step, drawn, pulls[0], found)
        if pulls[1] is not None:
            _pull_full(step, pulls[1], found)
        return found

    def _drawn(self, step: Step) -> _Drawn:
        segments, background = self.parts
        labels = segments.labels(step.images)
        counts = labels.flatten(1).amax(1) + 1
        filled = background.fill(step.images, step.index, step.seed)
        members = self.draw(step, counts)
        return _Drawn(labels, counts, filled, coalitions.distinct(members) if self.merges else members)


@dataclass(frozen=True)
class _Lime(_Surrogate):
    explainer: Lime

    @property
    def parts(self) -> tuple[Segments, Background]:
        return self.explainer.segments, self.explainer.background

    def draw(self, step: Step, counts: Tensor) -> Coalitions:
        return coalitions.bernoulli(step.seed, step.index, counts, self.explainer.samples)

    def fit(self, step: Step, drawn: _Drawn, scores: Tensor, _full: Tensor, /) -> Tensor:
        members, weights = drawn.members.members, drawn.members.weights
        far = cosine_distances(step.images, drawn.filled, drawn.labels, members)
        near = torch.exp(-(far**2) / (2 * self.explainer.kernel_width**2))
        return coalitions.solve_ridge(members, scores, weights * near, self.explainer.alpha)


@dataclass(frozen=True)
class _KernelShap(_Surrogate):
    explainer: KernelShap

    @property
    def parts(self) -> tuple[Segments, Background]:
        return self.explainer.segments, self.explainer.background

    def draw(self, step: Step, counts: Tensor) -> Coalitions:
        return self.explainer.draw(step.seed, step.index, counts)

    def fit(self, step: Step, drawn: _Drawn, scores: Tensor, full: Tensor, /) -> Tensor:
        empty = background_scores(step.model, self.explainer.background, drawn.filled, step.targets)
        return self.explainer.fit(drawn.members, scores, empty, full, drawn.counts)[0]


@dataclass(frozen=True)
class _Occlusion(_Surrogate):
    explainer: Occlusion

    @property
    def parts(self) -> tuple[Segments, Background]:
        return self.explainer.segments, self.explainer.background

    def draw(self, step: Step, counts: Tensor) -> Coalitions:
        return all_but_one(counts)

    def fit(self, step: Step, drawn: _Drawn, scores: Tensor, full: Tensor, /) -> Tensor:
        return full[:, None] - scores


@dataclass(frozen=True)
class _Shapley(_Surrogate):
    explainer: ShapleySampling
    merges = False

    @property
    def parts(self) -> tuple[Segments, Background]:
        return self.explainer.segments, self.explainer.background

    def draw(self, step: Step, counts: Tensor) -> Coalitions:
        return prefixes(self._ranks(step, counts), counts)

    def fit(self, step: Step, drawn: _Drawn, scores: Tensor, full: Tensor, /) -> Tensor:
        empty = background_scores(step.model, self.explainer.background, drawn.filled, step.targets)
        return shares(self._ranks(step, drawn.counts), drawn.counts, scores, empty, full)

    def _ranks(self, step: Step, counts: Tensor) -> Tensor:
        return orders_drawn(step.seed, step.index, counts, self.explainer.permutations, self.explainer.paired)


def _pull_scores(step: Step, drawn: _Drawn, pulls: Tensor, found: Tensor) -> None:
    """Add to `found` the gradients of the coalitions' scores, each times its `pulls` (N, S)."""
    images, flat = step.images, drawn.labels.flatten(1)
    rows, columns = (drawn.members.weights > 0).nonzero(as_tuple=True)

    def stays(start: int, stop: int) -> Tensor:
        here = rows[start:stop]
        return drawn.members.members[here, columns[start:stop]].gather(1, flat[here]).view(-1, 1, *drawn.labels.shape[1:])

    def make(start: int, stop: int) -> Tensor:
        here = rows[start:stop]
        return torch.where(stays(start, stop), images[here], drawn.filled[here])

    def take(start: int, stop: int, _scores: Tensor, slopes: Tensor) -> None:
        here = rows[start:stop]
        segment_sum(found, here, pulls[here, columns[start:stop]], slopes * stays(start, stop))

    gradients(step.model, step.targets, rows, images.shape[1:], make, take)


def _pull_full(step: Step, pulls: Tensor, found: Tensor) -> None:
    """Add to `found` the gradients of the images' own scores, each times its `pulls` (N,)."""
    rows = torch.arange(len(found), device=found.device)

    def take(start: int, stop: int, _scores: Tensor, slopes: Tensor) -> None:
        found[start:stop] += pulls[start:stop].view(-1, 1, 1, 1) * slopes

    gradients(step.model, step.targets, rows, found.shape[1:], lambda start, stop: step.images[start:stop], take)


FORMS: dict[type[Explainer], Callable[[Any], Form]] = {
    Lime: _Lime,
    KernelShap: _KernelShap,
    Occlusion: _Occlusion,
    ShapleySampling: _Shapley,
}
"""What makes the form of an explainer, by its class."""
