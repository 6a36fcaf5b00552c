"""Differentiable forms of LIME, KernelSHAP and occlusion: with superpixels, coalitions and their weights held, linear in the scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.attack.forms.form import Form, Step
from assay.explain.backgrounds import Background
from assay.explain.base import Explainer
from assay.explain.occlusion import Occlusion, all_but_one
from assay.explain.superpixels import coalitions
from assay.explain.superpixels.coalitions import Coalitions
from assay.explain.superpixels.permutations import ShapleySampling, orders_drawn, prefixes, shares
from assay.explain.superpixels.segments import Segments
from assay.explain.superpixels.surrogate import Game, KernelShap, Lime, cosine_distances
from assay.models.passes import gradients, segment_sum

__all__ = ["FORMS"]


@dataclass(frozen=True)
class _Drawn:
    """What is held at one step: the game of the images' superpixels, and coalitions (N, S) with their scores."""

    game: Game
    members: Coalitions
    scores: Tensor


class _Surrogate(Form):
    """The fit's gradient at the scores weighs each coalition's gradient at its pixels; first derivatives suffice."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Segments, Background]:
        """The explainer's superpixels and background."""

    @abstractmethod
    def play(self, step: Step, game: Game, /) -> tuple[Coalitions, Tensor]:
        """The explainer's coalitions and their scores (N, S)."""

    @abstractmethod
    def fit(self, step: Step, drawn: _Drawn, scores: Tensor, full: Tensor, /) -> Tensor:
        """Coefficients (N, n), differentiable in the coalitions' scores (N, S) and the images' own (N,)."""

    def pull(self, step: Step) -> Tensor:
        """See `Form.pull`."""
        segments, background = self.parts
        filled = background.fill(step.images, step.index, step.seed)
        game = Game(step.model, step.images, step.targets, segments.labels(step.images), filled, background)
        drawn = _Drawn(game, *self.play(step, game))
        with torch.inference_mode(False), torch.enable_grad():
            scores, full = drawn.scores.clone().requires_grad_(), game.full.clone().requires_grad_()
            fitted = self.fit(step, drawn, scores, full)
            maps = fitted.gather(1, game.labels.flatten(1)).view(len(full), 1, *game.labels.shape[1:])
            vector = step.steer(maps.detach(), torch.arange(len(full), device=full.device))
            pulls = torch.autograd.grad((maps * vector).sum(), [scores, full], allow_unused=True)
        found = torch.zeros_like(step.images)
        _pull_scores(step, drawn, pulls[0], found)
        if pulls[1] is not None:
            _pull_full(step, pulls[1], found)
        return found


def _played(game: Game, members: Coalitions) -> tuple[Coalitions, Tensor]:
    return members, game.run(members)


@dataclass(frozen=True)
class _Lime(_Surrogate):
    explainer: Lime

    @property
    def parts(self) -> tuple[Segments, Background]:
        return self.explainer.segments, self.explainer.background

    def play(self, step: Step, game: Game, /) -> tuple[Coalitions, Tensor]:
        return _played(game, coalitions.distinct(coalitions.bernoulli(step.seed, step.index, game.counts, self.explainer.samples)))

    def fit(self, step: Step, drawn: _Drawn, scores: Tensor, _full: Tensor, /) -> Tensor:
        members, weights = drawn.members.members, drawn.members.weights
        far = cosine_distances(step.images, drawn.game.filled, drawn.game.labels, members)
        near = torch.exp(-(far**2) / (2 * self.explainer.kernel_width**2))
        return coalitions.solve_ridge(members, scores, weights * near, self.explainer.alpha)


@dataclass(frozen=True)
class _KernelShap(_Surrogate):
    explainer: KernelShap

    @property
    def parts(self) -> tuple[Segments, Background]:
        return self.explainer.segments, self.explainer.background

    def play(self, step: Step, game: Game, /) -> tuple[Coalitions, Tensor]:
        return self.explainer.play(game, step.seed, step.index)

    def fit(self, _step: Step, drawn: _Drawn, scores: Tensor, full: Tensor, /) -> Tensor:
        return self.explainer.fit(drawn.members, scores, drawn.game.empty, full, drawn.game.counts)[0]


@dataclass(frozen=True)
class _Occlusion(_Surrogate):
    explainer: Occlusion

    @property
    def parts(self) -> tuple[Segments, Background]:
        return self.explainer.segments, self.explainer.background

    def play(self, _step: Step, game: Game, /) -> tuple[Coalitions, Tensor]:
        return _played(game, coalitions.distinct(all_but_one(game.counts)))

    def fit(self, _step: Step, drawn: _Drawn, scores: Tensor, full: Tensor, /) -> Tensor:
        return full[:, None] - scores


@dataclass(frozen=True)
class _Shapley(_Surrogate):
    explainer: ShapleySampling

    @property
    def parts(self) -> tuple[Segments, Background]:
        return self.explainer.segments, self.explainer.background

    def play(self, step: Step, game: Game, /) -> tuple[Coalitions, Tensor]:
        return _played(game, prefixes(self._ranks(step, game.counts), game.counts))

    def fit(self, step: Step, drawn: _Drawn, scores: Tensor, full: Tensor, /) -> Tensor:
        counts = drawn.game.counts
        return shares(self._ranks(step, counts), counts, scores, drawn.game.empty, full)

    def _ranks(self, step: Step, counts: Tensor) -> Tensor:
        return orders_drawn(step.seed, step.index, counts, self.explainer.permutations, self.explainer.paired)


def _pull_scores(step: Step, drawn: _Drawn, pulls: Tensor, found: Tensor) -> None:
    """Add to `found` the gradients of the coalitions' scores, each times its `pulls` (N, S)."""
    images, labels, filled = step.images, drawn.game.labels, drawn.game.filled
    rows, columns = (drawn.members.weights > 0).nonzero(as_tuple=True)

    def stays(start: int, stop: int) -> Tensor:
        here = rows[start:stop]
        return drawn.members.members[here, columns[start:stop]].gather(1, labels[here].flatten(1)).view(-1, 1, *labels.shape[1:])

    def make(start: int, stop: int) -> Tensor:
        here = rows[start:stop]
        return torch.where(stays(start, stop), images[here], filled[here])

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
