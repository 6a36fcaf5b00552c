"""LIME and KernelSHAP: a linear model of the score over superpixels that stay or go."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from assay.core.inputs import check_finite
from assay.core.noise import derive
from assay.core.registry import check_at_least, check_positive, register
from assay.core.surroundings import undisturbed
from assay.errors import AssayWarning, SpecError
from assay.explain.backgrounds import Background, Constant, background_scores
from assay.explain.base import Cost, Explainer, check_call
from assay.explain.superpixels import coalitions
from assay.explain.superpixels.coalitions import Coalitions
from assay.explain.superpixels.posterior import Estimator, Posterior, infer, spread
from assay.explain.superpixels.segments import Segments, Superpixels, segment_sums
from assay.models.classifier import Classifier
from assay.models.passes import Own

__all__ = ["Game", "KernelShap", "Lime"]

_FIRST, _MOST = 128, 2048
"""Passes per image of the first round and of all rounds of `KernelShap(samples="auto")`."""


@dataclass(frozen=True, eq=False)
class Game:
    """What coalitions of the superpixels of N images score.

    Args:
        model: The model.
        images: (N, C, H, W).
        targets: (N,) class ids.
        labels: (N, H, W) superpixel of each pixel.
        filled: (N, C, H, W) what shows through where a superpixel is absent.
        background: What made it.
    """

    model: Classifier
    images: Tensor
    targets: Tensor
    labels: Tensor
    filled: Tensor
    background: Background

    @cached_property
    def counts(self) -> Tensor:
        """(N,) numbers of superpixels."""
        return self.labels.flatten(1).amax(1) + 1

    @cached_property
    def full(self) -> Tensor:
        """(N,) scores with all superpixels."""
        return self.model.score(self.model.unchecked_logits(self.images), self.targets)

    @cached_property
    def empty(self) -> Tensor:
        """(N,) scores with none."""
        return background_scores(self.model, self.background, self.filled, self.targets)

    def run(self, drawn: Coalitions, rows: Own = slice(None)) -> Tensor:
        """Scores (n, S) of coalitions (n, S) of some of the images; see `run_coalitions`."""
        images, targets, labels, filled = (part[rows] for part in (self.images, self.targets, self.labels, self.filled))
        return coalitions.run_coalitions(self.model, images, targets, labels, filled, drawn)

    def known(self, rows: Own) -> tuple[Tensor, Tensor, Tensor]:
        """`empty`, `full` and `counts` (n,) of some of the images."""
        return self.empty[rows], self.full[rows], self.counts[rows]


@register
class Lime(Explainer):
    """Ridge coefficients of the score over random coalitions of superpixels, near ones weighing more.

    Args:
        samples: Coalitions, and forward passes, per image.
        segments: The superpixels.
        alpha: Ridge penalty.
        kernel_width: Width of the exponential kernel over the cosine distance between image and perturbed image.
        background: What shows through where a superpixel is absent.

    Source: Ribeiro, Singh, Guestrin 2016; kernel and sampling as in Captum, which the robustness paper used.
    """

    samples: int = 100
    segments: Segments = Superpixels()
    alpha: float = 1.0
    kernel_width: float = 1.0
    background: Background = Constant(0.0)
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[frozenset[str]] = frozenset({"segments"})
    reference: ClassVar[str] = "Ribeiro, Singh, Guestrin: Why Should I Trust You?, KDD 2016"
    pitfalls: ClassVar[str] = "Turns on superpixels, background and penalty; with few samples mostly noise."

    def __post_init__(self) -> None:
        check_at_least(self, 2, "samples")
        check_positive(self, "alpha", "kernel_width")

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        return Cost(self.samples, most=True)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        labels = self.segments.labels(images)
        counts = labels.flatten(1).amax(1) + 1
        filled = self.background.fill(images, index, seed)
        drawn = coalitions.distinct(coalitions.bernoulli(seed, index, counts, self.samples))
        values = coalitions.run_coalitions(model, images, targets, labels, filled, drawn)
        near = torch.exp(-(cosine_distances(images, filled, labels, drawn.members) ** 2) / (2 * self.kernel_width**2))
        fitted = coalitions.solve_ridge(drawn.members, values, drawn.weights * near, self.alpha)
        return spread(fitted, labels)


@register
class KernelShap(Explainer):
    """Shapley values of superpixels from the scores of coalitions, with their error.

    Args:
        samples: Forward passes per image, those of the image and of the background included. "auto" takes 128, then as many again as
            there were, up to 2048, for each image whose error is still above `error`.
        segments: The superpixels.
        background: What shows through where a superpixel is absent.
        sampling: "paired" takes whole coalition sizes exactly while they fit and draws the rest in complementary pairs; with fewer than
            2n + 2 passes, groups first, and superpixels alone of those groups that count. "independent" is the plain sampling of the
            robustness paper (Captum's).
        estimator: What reads values from the scores. "process" is a Gaussian process over coalitions, "regression" weighted least squares,
            as published from 2n + 2 passes on, and "auto" the process, but for images where the other predicts left-out pairs of
            coalitions clearly better. Independent coalitions have no pairs to leave out and are read by regression.
        error: The relative error that `samples="auto"` stops at, in the norm of an image's values.

    Source: Lundberg, Lee 2017; Covert, Lee 2021 (pairs); the process is this project's own.
    """

    samples: int | Literal["auto"] = 100
    segments: Segments = Superpixels()
    background: Background = Constant(0.0)
    sampling: Literal["paired", "independent"] = "paired"
    estimator: Estimator = "auto"
    error: float = 0.1
    category: ClassVar[str] = "surrogate"
    needs: ClassVar[frozenset[str]] = frozenset({"segments"})
    reference: ClassVar[str] = "Lundberg, Lee: A Unified Approach to Interpreting Model Predictions, NeurIPS 2017"
    pitfalls: ClassVar[str] = "Relative to its background; needs more passes than there are superpixels (`posterior` tells the error)."

    def __post_init__(self) -> None:
        if self.samples != "auto":
            check_at_least(self, 4, "samples")
        check_positive(self, "error")
        if self.sampling == "independent" and (self.estimator == "process" or self.samples == "auto"):
            what = 'estimator="process"' if self.estimator == "process" else 'samples="auto"'
            raise SpecError(f'KernelShap: {what} needs sampling="paired"')

    @undisturbed()
    def posterior(
        self, model: Classifier, images: Tensor, targets: Tensor | None = None, *, seed: int = 0, index: Tensor | None = None
    ) -> Posterior:
        """Shapley values with their error, from the passes that the map costs; arguments as for a call.

        Returns:
            Means and deviations (N, n) per superpixel, on the model's device; `.maps` is what a call gives.

        Raises:
            AssayError: A wrong input, named in the message, or a value that is not finite.
        """
        images, targets, index = check_call(model, images, targets, index)
        found = self._infer(model, images, model.choose(model.logits(images)) if targets is None else targets, index, seed)
        check_finite(found.mean, "the KernelShap value")
        return found

    @property
    def cost(self) -> Cost:
        """See `Explainer.cost`."""
        passes = _MOST if self.samples == "auto" else self.samples
        return Cost(passes - 1, shared=1, most=True) if self.background.shared else Cost(passes, most=True)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        return self.with_doubt(model, images, targets, index, seed)[0]

    def with_doubt(
        self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int
    ) -> tuple[Tensor, Tensor | None]:
        """See `Explainer.with_doubt`; in doubt are superpixels whose 95 % interval holds 0."""
        assert targets is not None
        found = self._infer(model, images, targets, index, seed)
        return found.maps, spread(~found.distinct() & found.deviation.isfinite(), found.labels)

    def play(self, game: Game, seed: int, index: Tensor) -> tuple[Coalitions, Tensor]:
        """Distinct coalitions for images `index` (N,), in `samples` passes or the first round's, and their scores (N, S)."""
        drawn = self._draw(game, slice(None), seed, index, self._first)
        return self._single(game, slice(None), drawn, game.run(drawn), self._first)

    def fit(self, drawn: Coalitions, values: Tensor, empty: Tensor, full: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Means and deviations (N, n) from the coalitions' scores (N, S); see `posterior.infer`."""
        return infer(self.estimator, self.sampling == "paired", drawn, values, empty, full, counts)

    @property
    def _first(self) -> int:
        return _FIRST if self.samples == "auto" else self.samples

    def _draw(self, game: Game, rows: Own, seed: int, index: Tensor, passes: int) -> Coalitions:
        return coalitions.distinct(coalitions.shapley(seed, index[rows], game.counts[rows], passes - 2, self.sampling == "paired"))

    def _single(self, game: Game, rows: Own, drawn: Coalitions, values: Tensor, passes: int) -> tuple[Coalitions, Tensor]:
        """With what `passes` leave for single superpixels, where these do not all fit."""
        # Where all fitted into the first round, none is left.
        if self.sampling == "independent" or bool((2 * game.counts <= self._first - 2).all()):
            return drawn, values
        return _joined(game, rows, drawn, values, coalitions.singled(drawn, values, *game.known(rows), passes - 2))

    def _infer(self, model: Classifier, images: Tensor, targets: Tensor, index: Tensor, seed: int) -> Posterior:
        labels = self.segments.labels(images)
        game = Game(model, images, targets, labels, self.background.fill(images, index, seed), self.background)
        self._warn_of_few(int(game.counts.max()))
        drawn, values = self.play(game, seed, index)
        going = torch.arange(len(images), device=images.device)
        mean, deviation = self.fit(drawn, values, *game.known(going))
        passes = (drawn.weights > 0).sum(1) + 2
        found = Posterior(labels, game.counts, mean, deviation, passes)
        spent = _FIRST
        while self.samples == "auto" and bool((kept := found.error[going] > self.error).any()):
            if spent == _MOST:
                warnings.warn(
                    f"KernelShap: {int(kept.sum())} of {len(images)} images miss the error {self.error:g} after {_MOST} passes; "
                    f"wish for less, or for fewer superpixels",
                    AssayWarning,
                    stacklevel=2,
                )
                break
            going, values = going[kept], values[kept]
            drawn = Coalitions(drawn.members[kept], drawn.weights[kept])
            more = self._draw(game, going, derive(seed, f"KernelShap {spent}"), index, spent)
            spent *= 2
            drawn, values = self._single(game, going, *_joined(game, going, drawn, values, more), spent)
            mean[going], deviation[going] = self.fit(drawn, values, *game.known(going))
            passes[going] = (drawn.weights > 0).sum(1) + 2
            found = Posterior(labels, game.counts, mean, deviation, passes)
        return found

    def _warn_of_few(self, most: int) -> None:
        passes = self._first
        if most > passes - 2:
            warnings.warn(
                f"KernelShap: {passes} passes cannot tell {most} superpixels apart; samples={2 * most + 2} runs each of them alone and "
                "each left out, or cut fewer, as segments=Slic(count=50) does",
                AssayWarning,
                stacklevel=2,
            )


def _joined(game: Game, rows: Own, ran: Coalitions, values: Tensor, more: Coalitions) -> tuple[Coalitions, Tensor]:
    """Both together, with the scores (n, S) of what was not run before."""
    drawn, fresh = coalitions.joined(ran, more)
    return drawn, torch.cat([values, game.run(fresh, rows)], 1)


def cosine_distances(images: Tensor, filled: Tensor, labels: Tensor, members: Tensor) -> Tensor:
    """1 - cosine between each image and its perturbed copies (N, S), from sums over segments instead of the copies."""
    count = members.shape[2]
    x, b = images.double(), filled.double()
    energy, cross, ground = (segment_sums(part.sum(1), labels, count) for part in (x * x, x * b, b * b))
    stays = members.double()

    def total(inside: Tensor, outside: Tensor) -> Tensor:
        return torch.einsum("nsk,nk->ns", stays, inside - outside) + outside.sum(1, keepdim=True)

    dot, norm = total(energy, cross), total(energy, ground)
    return 1 - dot / (norm * energy.sum(1, keepdim=True)).sqrt().clamp_min(1e-8)
