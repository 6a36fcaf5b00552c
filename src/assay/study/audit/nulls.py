"""What each map of an audit is held against: nulls made from the explainer's own map, controls, and a positive control.

Everything is made within one block of images, from (seed, image number) and the block's own maps, so that a resumed run gives the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import polars as pl
import torch
from torch import Tensor

from assay.core import noise
from assay.core.order import correlation, mean_ranks, membership
from assay.core.registry import changed, field_values, short
from assay.errors import AssayError
from assay.explain.base import Explainer
from assay.explain.controls import Centre, ColourContrast, Edges
from assay.explain.occlusion import Occlusion
from assay.explain.superpixels.segments import Grid
from assay.measure.base import Measure, pixel_values
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.study.asked import Twins

__all__ = [
    "ANOTHER",
    "CONTROLS",
    "CONTROL_NAMES",
    "ELSEWHERE",
    "FLIPPED",
    "LAST",
    "MEAN",
    "MOST_NULLS",
    "NULL_STEPS",
    "OWN",
    "POSITIVE",
    "POSITIVE_NAME",
    "RANDOM",
    "SHIFTS",
    "TRUTH",
    "Made",
    "Null",
    "Nulls",
    "agreements",
    "another",
    "elsewhere",
    "judges",
    "random_phases",
    "scored_with_nulls",
    "unchanged",
]

Null = Literal["shift", "phase"]
"""How a map is put elsewhere: moved in a circle, or with its frequencies at random phases, which keeps its texture alone."""

OWN, ELSEWHERE, FLIPPED, ANOTHER = "own", "elsewhere", "signs flipped", "another image's"
RANDOM, LAST = "random weights", "random last layer"
KINDS = (OWN, ELSEWHERE, FLIPPED, ANOTHER, RANDOM, LAST)
"""An explainer's map, and the nulls made from it."""
CONTROLS: tuple[Explainer, ...] = (Edges(), ColourContrast(), Centre())
"""Maps of the image alone."""
SHIFTS = 3
"""Places elsewhere that a map's null is the mean over: the mean varies less than one place, so that fewer images do."""
_ALIKE = 1e-3
"""Maps that are no further apart, as a share of their size, are the same map."""
MEAN = "mean contrast of the other images"
"""One more control: where these data usually show something, the mean of `ColourContrast` over a block's other images."""
CONTROL_NAMES = tuple(f"control {name}" for name in (*map(short, CONTROLS), MEAN))
"""What tables call the controls among explainers' maps."""
POSITIVE = Occlusion(segments=Grid(rows=4, columns=4))
"""A map made from the model's own answers, which a measure that can tell anything here tells from the same map elsewhere."""
POSITIVE_NAME = "positive control"
TRUTH = "truth"
NULL_STEPS = 7
"""Steps of the curves by which nulls are compared; those of the scores are finer, and cost more."""
MOST_NULLS = 512
"""Images, about, that are held against nulls; evenly spaced blocks where there are more."""
_RANKED = 1 << 25
_CATEGORIES = ("faithfulness", "localisation")


def judges(measures: Sequence[Measure]) -> list[Measure]:
    """The measures that answer the verdict's questions: those of faithfulness and known truth, which look at maps alone."""
    return [one for one in measures if one.category in _CATEGORIES and "explainer" not in one.needs]


@dataclass(frozen=True, eq=False)
class Made:
    """Maps to be scored, and what their scores stand for.

    Attributes:
        maps: (N, C, H, W) each.
        sources: The places in `maps` of each item, whose scores are averaged.
        known: (items, N) which there are.
    """

    maps: list[Tensor]
    sources: list[list[int]]
    known: Tensor

    def averaged(self, scores: Tensor) -> Tensor:
        """(items, N) of scores (maps, N)."""
        return torch.stack([scores[own].mean(0) for own in self.sources])


@dataclass(frozen=True, eq=False)
class Nulls:
    """Scores of all that an audit's maps are held against.

    Args:
        explainers: What is audited.
        measures: Those that answer questions (see `judges`).
        seed: Decides all randomness, together with the images' numbers.
        twins: Gives the model with random weights in all layers and in the last, for images of a shape.
        truth: Whether the evidence is known.
        null: How maps are put elsewhere.
    """

    explainers: Sequence[Explainer]
    measures: Sequence[Measure]
    seed: int
    twins: Callable[[Sequence[int]], Twins]
    truth: bool
    null: Null = "shift"

    @property
    def items(self) -> list[tuple[str, str]]:
        """(whose map, which of KINDS) of everything that is scored, in the order of the tables' rows."""
        found = [(short(one), kind) for one in self.explainers for kind in KINDS]
        found += [(name, kind) for name in CONTROL_NAMES for kind in (OWN, ELSEWHERE)]
        found += [(POSITIVE_NAME, kind) for kind in (OWN, ELSEWHERE, FLIPPED, ANOTHER, RANDOM)]
        return found + ([(TRUTH, kind) for kind in (OWN, ELSEWHERE, ANOTHER)] if self.truth else [])

    def wanted(self, rows: range, images: int) -> bool:
        """Whether a block at these positions of so many images is held against nulls."""
        share = min(1.0, MOST_NULLS / images) / len(rows)
        return bool(self.measures) and math.floor(rows.stop * share) > math.floor(rows.start * share)

    def extra(self, case: Case, maps: Sequence[Tensor], lost: Tensor) -> Made:
        """Maps of all items.

        Where a random last layer leaves a map as it is, the map itself stands for that item; where it changes the map, nothing does.

        Args:
            case: The images.
            maps: Maps of the explainers, 0 where they were not finite.
            lost: (explainers and more, N) where a map or the model's output is not finite.
        """
        donors = another(case.targets, case.index, self.seed)
        sound = case.logits.flatten(1).isfinite().all(1)
        twins = self.twins(case.images.shape[1:])
        made: list[Tensor] = []
        sources: list[list[int]] = []
        known: list[Tensor] = []

        def add(there: Tensor, *ways: Tensor) -> None:
            sources.append(list(range(len(made), len(made) + len(ways))))
            made.extend(ways)
            known.append(there)

        for explainer, own, gone in zip(self.explainers, maps, lost, strict=False):
            add(~gone, own)
            add(~gone, *self._elsewhere(own, case.index))
            add(~gone, -own)
            add(~gone & (donors >= 0) & ~gone[donors.clamp_min(0)], own[donors.clamp_min(0)])
            random = _random(case, explainer, twins[0], self.seed)
            add(~gone & random.flatten(1).isfinite().all(1), random.nan_to_num(0.0, 0.0, 0.0))
            sources.append(sources[-5])
            known.append(~gone & self._unchanged(case, explainer, twins[1], own, gone))
        controls = [one.attribute(case.model, case.images, case.targets, case.index, self.seed) for one in CONTROLS]
        contrast = controls[CONTROLS.index(ColourContrast())]
        for one in controls:
            add(sound, one)
            add(sound, *self._elsewhere(one, case.index))
        mean = (contrast.sum(0, keepdim=True) - contrast) / max(1, len(contrast) - 1)
        add(sound & (len(sound) > 1), mean)
        add(sound & (len(sound) > 1), *self._elsewhere(mean, case.index))
        random = _random(case, POSITIVE, twins[0], self.seed)
        foreign, donor = sound & (donors >= 0) & sound[donors.clamp_min(0)], donors.clamp_min(0)
        positive = POSITIVE.attribute(case.model, case.images, case.targets, case.index, self.seed).nan_to_num(0.0, 0.0, 0.0)
        add(sound, positive)
        add(sound, *self._elsewhere(positive, case.index))
        add(sound, -positive)
        add(foreign, positive[donor])
        add(sound & random.flatten(1).isfinite().all(1), random.nan_to_num(0.0, 0.0, 0.0))
        if case.truth is not None:
            truth = case.truth.float()
            add(sound, truth)
            add(sound, *self._elsewhere(truth, case.index))
            add(foreign, truth[donor])
        return Made(made, sources, torch.stack(known))

    def _unchanged(self, case: Case, explainer: Explainer, twin: Classifier | None, own: Tensor, gone: Tensor) -> Tensor:
        """(N,) whether a random last layer leaves each map as it is; where it changes the first of them, the others are not looked at."""
        first = (~gone).nonzero()[:1, 0]
        if not len(first) or not unchanged(own[first], _random(case.part(first), explainer, twin, self.seed)).all():
            return torch.zeros_like(gone)
        return unchanged(own, _random(case, explainer, twin, self.seed))

    def _elsewhere(self, maps: Tensor, index: Tensor) -> list[Tensor]:
        put = elsewhere if self.null == "shift" else random_phases
        return [put(maps, index, self.seed, copy) for copy in range(SHIFTS)]

    def table(self, index: Tensor, values: Tensor, labels: Sequence[str]) -> pl.DataFrame:
        """Rows (image, map, kind, measure, value) of values (measures, items, N), image by image.

        Args:
            index: (N,) the images' numbers.
            values: (measures, items, N).
            labels: The measures' names.
        """
        count, items, many = len(index), self.items, len(labels)
        return pl.DataFrame(
            {
                "image": index.cpu().repeat_interleave(len(items) * many).numpy(),
                "map": [name for name, _ in items for _ in labels] * count,
                "kind": [kind for _, kind in items for _ in labels] * count,
                "measure": list(labels) * (len(items) * count),
                "value": values.permute(2, 1, 0).flatten().double().cpu().numpy(),
            }
        )


def _random(case: Case, explainer: Explainer, twin: Classifier | None, seed: int) -> Tensor:
    """An explainer's maps of a model with random weights; NaN where there are none."""
    # Maps that were made elsewhere are the same for any model.
    if twin is not None and not getattr(explainer, "fixed", False):
        # Without a map the question stays open for this explainer, and the verdict says so.
        with suppress(AssayError):
            found: Tensor = explainer.attribute(twin, case.images, case.targets, case.index, seed)
            return found
    return torch.full_like(case.images[:, :1], torch.nan)


def unchanged(one: Tensor, other: Tensor) -> Tensor:
    """(N,) whether two maps (N, C, H, W) are the same but for a positive factor; two maps of zeros are, and NaN is like nothing."""
    if one.shape != other.shape:
        return torch.zeros(len(one), dtype=torch.bool, device=one.device)
    first, second = (each.flatten(1).double() for each in (one, other))
    sizes = [each.norm(dim=1, keepdim=True) for each in (first, second)]
    apart: Tensor = (first / sizes[0].clamp_min(1e-30) - second / sizes[1].clamp_min(1e-30)).norm(dim=1)
    return apart <= _ALIKE


def coarse(measure: Measure) -> Measure | None:
    """A curve's measure of few steps, equal pixels in one order alone, by which nulls are compared; None for measures without steps."""
    known = field_values(measure)
    if "steps" not in known:
        return None
    once = {"reverse": False} if "reverse" in known else {}
    return changed(measure, steps=min(NULL_STEPS, known["steps"]), **once)


def scored_with_nulls(
    measure: Measure, case: Case, maps: list[Tensor], explainers: Sequence[Explainer], made: list[Tensor]
) -> tuple[Tensor, Tensor | None]:
    """Scores (E, N) of the explainers' maps, and (maps, N) of what they are held against (`made`); None where there is nothing."""
    few = coarse(measure) if made else None
    if few is None:
        # The explainers' own maps are among both, and are scored once.
        places = {id(one): at for at, one in enumerate(maps)}
        rest = [one for one in made if id(one) not in places]
        both = measure.evaluate(case, [*maps, *rest], [*explainers, *[POSITIVE] * len(rest)])
        places |= {id(one): len(maps) + at for at, one in enumerate(rest)}
        return both[: len(maps)], both[[places[id(one)] for one in made]] if made else None
    # Curves rank the pixels of all maps at once; a few maps at a time bound the memory.
    size = max(1, _RANKED // case.images[:, 0].numel())
    parts = [few.evaluate(case, made[at : at + size], [POSITIVE] * len(made[at : at + size])) for at in range(0, len(made), size)]
    return measure.evaluate(case, maps, list(explainers)), torch.cat(parts)


def elsewhere(maps: Tensor, index: Tensor, seed: int, copy: int = 0) -> Tensor:
    """Maps (N, C, H, W) put elsewhere: moved in a circle, by a quarter to three quarters of each side, drawn for each image and copy."""
    height, width = maps.shape[2:]
    drawn = noise.uniform(seed, "elsewhere", index, torch.full_like(index, copy), (2,)) / 2 + 0.25
    down, across = ((drawn[:, at] * side).round().long() for at, side in enumerate((height, width)))
    rows = (torch.arange(height, device=maps.device) + down[:, None]) % height
    columns = (torch.arange(width, device=maps.device) + across[:, None]) % width
    return maps.gather(2, rows[:, None, :, None].expand_as(maps)).gather(3, columns[:, None, None, :].expand_as(maps))


def random_phases(maps: Tensor, index: Tensor, seed: int, copy: int = 0) -> Tensor:
    """Maps (N, C, H, W) whose frequencies keep their size, and their mean, at phases drawn for each image and copy.

    Source: Theiler et al., Physica D 1992 (surrogate data of the same spectrum).
    """
    shape = tuple(maps.shape[2:])
    drawn = torch.fft.rfft2(noise.normal(seed, "phases", index, torch.full_like(index, copy), (1, *shape)).double().to(maps.device))
    drawn = drawn / drawn.abs().clamp_min(1e-12)
    drawn[..., 0, 0] = 1.0
    # In float64, since the last bits of a transform may depend on how many images it is given.
    found: Tensor = torch.fft.irfft2(torch.fft.rfft2(maps.double()) * drawn, s=shape)
    return found.to(maps.dtype)


def another(targets: Tensor, index: Tensor, seed: int) -> Tensor:
    """(N,) the place of an image of another class for each image, drawn among those there are; -1 where there is none."""
    others = targets[:, None] != targets
    many = others.sum(1)
    drawn = noise.uniform(seed, "another image", index, torch.zeros_like(index), (1,))[:, 0]
    wanted = (drawn * many).long().clamp_max((many - 1).clamp_min(0))
    found = (others.cumsum(1) == wanted[:, None] + 1).long().argmax(1)
    return torch.where(many > 0, found, -1)


def agreements(index: Tensor, maps: Mapping[str, Tensor]) -> pl.DataFrame:
    """How alike the maps of each two explainers are, image by image.

    Args:
        index: (N,) the images' numbers.
        maps: (N, C, H, W) by explainer.

    Returns:
        Columns image, first, second, spearman (of the pixels' sums over the channels), overlap (share of the top tenth of the pixels
        that both have).
    """
    names = list(maps)
    values = {name: pixel_values(one, "signed").flatten(1) for name, one in maps.items()}
    ranks = {name: mean_ranks(one).double() for name, one in values.items()}
    count = max(1, next(iter(values.values())).shape[1] // 10) if values else 1
    tops = {name: membership(one, count) for name, one in values.items()}
    parts = [
        pl.DataFrame(
            {
                "image": index.cpu().numpy(),
                "first": [first] * len(index),
                "second": [second] * len(index),
                "spearman": correlation(ranks[first], ranks[second]).cpu().numpy(),
                "overlap": (torch.minimum(tops[first], tops[second]).sum(1) / count).double().cpu().numpy(),
            }
        )
        for at, first in enumerate(names)
        for second in names[at + 1 :]
    ]
    schema = {"image": pl.Int64, "first": pl.String, "second": pl.String, "spearman": pl.Float64, "overlap": pl.Float64}
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)
