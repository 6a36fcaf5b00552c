"""What maps of the baseline, and masks of a tuned model, come to on each image: studies whose tables the paper's are made of."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal

import polars as pl
import torch
from torch import Tensor

from assay.core.registry import short
from assay.explain.backgrounds import Background, Constant
from assay.explain.base import Explainer
from assay.explain.refine import Refined
from assay.measure.base import Measure
from assay.measure.erasure import erasure_agreement
from assay.measure.keep import KeepTop
from assay.measure.localisation import DistractorShare, MaskIoU
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.papers.paper import value_rows
from assay.run.record import record
from assay.study.study import Asked, Block, Done, Kept, Report, Study, Tell
from assay.tune.drawn_backgrounds import DatasetMean, RandomColour
from assay.tune.explainer import LearnedMask
from assay.tune.predictions import probabilities
from assay.tune.simplify import drawn_masks

__all__ = [
    "ANOTHER_MASK",
    "BASELINE",
    "BASES_MASK",
    "EVIDENCE_ALONE",
    "IOU",
    "KEEP",
    "MASK",
    "PLAIN_MASK",
    "PROPORTIONS",
    "SHAPE_ALONE",
    "WHITE",
    "WIDE",
    "Attribution",
    "ClassesStudy",
    "Kind",
    "MapsStudy",
    "MasksStudy",
    "ScoreName",
    "ScoredStudy",
    "faint",
    "refined",
]

Kind = Literal["overlap", "white overlap", "distractor", "top pixels", "whole", "erased", "kept", "background", "distance"]
"""What a value is: overlap with the evidence, share on the distractor, accuracy on the top pixels, on whole images or on what masks leave,
share of the pixels kept, agreement before a named background, or distance of probabilities."""
PROPORTIONS: frozenset[Kind] = frozenset({"top pixels", "whole", "erased", "background"})
"""Kinds that are 0 or 1 on each image."""
IOU, WHITE, KEEP = "IoU", "IoU, white pixels", "keep {:g} %"
MASK, PLAIN_MASK = "mask", "mask, without edges"
"""A recipe's own mask, and the same before it is drawn along the image's edges, where the recipe does so."""
BASES_MASK, ANOTHER_MASK, SHAPE_ALONE = "mask, f_b", "another image's mask", "the mask's shape alone"
"""What is kept before other backgrounds beside the mask itself: judged by the baseline, and the two controls."""
_COLOUR = DatasetMean((0.527, 0.447, 0.403))
"""What the authors' pixel perturbation fills with."""
EVIDENCE_ALONE = "evidence alone"
BASELINE = "f_b"
"""What the tables call the baseline."""
WIDE = "wide colours"
"""Said of agreement before the colours that were tuned with; the authors' evaluation draws them ten times closer to their mean."""
_FAINT = 0.1
_BRIGHT = 2.99
"""Least sum of the channels of a pixel of the authors' truth of Hard MNIST."""


def faint(background: Background, channels: int) -> Background:
    """The colours before which the authors judge what masks leave: as tuned with, of a tenth of the standard deviation."""
    if not isinstance(background, RandomColour):
        return background
    usual = RandomColour.STD if channels == len(RandomColour.STD) else (sum(RandomColour.STD) / len(RandomColour.STD),)
    return replace(background, std=tuple(_FAINT * one for one in background.std or usual))


@dataclass(frozen=True)
class ScoreName:
    """What a value is.

    Attributes:
        label: What tables call it.
        kind: What it is.
        background: What was behind, of agreement before a named background.
    """

    label: str
    kind: Kind
    background: str = ""


@dataclass(frozen=True)
class Attribution:
    """Whose maps a value is of.

    Attributes:
        label: What tables call them.
        maker: What tables call what made them, before any refinement.
        finer: Whether they are drawn along the images' edges afterwards, by a filter that asks no model.
    """

    label: str
    maker: str
    finer: bool = False

    @classmethod
    def of(cls, name: str, finer: bool = False) -> Attribution:
        """Maps of this name, as they are made or refined."""
        return cls(refined(name) if finer else name, name, finer)


def refined(name: str) -> str:
    """What the tables call an attribution that is drawn along the images' edges."""
    return f"{name}, refined"


_NO_MAP = Attribution("", "")
"""Of whole images no map takes part."""


@dataclass(frozen=True, kw_only=True)
class ScoredStudy(Study):
    """What the studies of this paper share: tables "scores" (a row for each value, see `rows`) and "costs".

    Attributes:
        keep: Shares of the pixels that pixel perturbation keeps.
        white: Whether the overlap is taken with the white pixels as well, as the authors do on Hard MNIST.
    """

    keep: tuple[float, ...] = (0.1, 0.05, 0.02, 0.01)
    white: bool = False
    command: ClassVar[str] = "study diet"

    def check(self, asked: Asked) -> None:
        """Everything was checked with the paper's settings."""

    @property
    @abstractmethod
    def explainers(self) -> tuple[Explainer, ...]:
        """For the record."""

    @property
    def fields(self) -> dict[str, Any]:
        """What decides the results and is no model or set of images; those are the paper's settings."""
        return {"keep": list(self.keep), "white": self.white, "explainers": [repr(one) for one in self.explainers]}

    def conclude(self, asked: Asked, done: Done) -> Report:
        """The tables as they are."""
        done.require_sound("scored")
        return Report(found=lambda: None, merged={"scores.parquet": "scores", "costs.csv": "costs", "status.csv": "status"})

    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""
        told = {"keep": list(self.keep), "white": self.white}
        return record(asked.model, self.explainers, (), asked.data, asked.source.indices, asked.seed, told)

    def located(self, block: Block, whose: Attribution, maps: Tensor, explainer: Explainer) -> Iterator[pl.DataFrame]:
        """Scores of maps: overlap with the truth, share on the distractor, accuracy on the top pixels."""
        case, measures = _judged(block), dict[ScoreName, Measure]()
        if case.truth is not None:
            measures[ScoreName(IOU, "overlap")] = MaskIoU(order="magnitude")
        if case.distractor is not None:
            measures[ScoreName("on distractor", "distractor")] = DistractorShare()
        measures |= {ScoreName(KEEP.format(100 * share), "top pixels"): KeepTop(share, _COLOUR) for share in self.keep}
        for measure, one in measures.items():
            yield rows(block, whose, {measure: one.evaluate(case, [maps], [explainer])[0]})
        if self.white:
            bright = (case.images.sum(1, keepdim=True) >= _BRIGHT) & ~_of(case.distractor, case.images)
            found = MaskIoU(order="magnitude").evaluate(replace(case, truth=bright), [maps], [explainer])[0]
            yield rows(block, whose, {ScoreName(WHITE, "white overlap"): found})


@dataclass(frozen=True)
class MapsStudy(ScoredStudy):
    """Explainers of the baseline, each as it is and drawn along the images' edges."""

    explainers: tuple[Explainer, ...] = ()

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`."""
        found, costs = list[pl.DataFrame](), list[dict[str, Any]]()
        for number, explainer in enumerate(self.explainers):
            case = block.case
            maps, cost = timed(asked.model, partial(_maps, explainer, case))
            name = short(explainer)
            costs.append({"attribution": name, "images": len(maps), **cost})
            found += self.located(block, Attribution.of(name), maps, explainer)
            finer = Refined(explainer)
            found += self.located(block, Attribution.of(name, finer=True), finer.along(maps, case.images), finer)
            tell((number + 1) * len(block.rows) // len(self.explainers))
        found += _alone(block, asked.model)
        return Kept({"scores": pl.concat(found), "costs": pl.DataFrame(costs)})


@dataclass(frozen=True)
class MasksStudy(ScoredStudy):
    """Masks of new images, learned for a tuned model, and what it says of what they leave.

    All images are one block, since the authors' rule looks at the loss of all of them.

    Attributes:
        explainer: Learns the masks.
        base: The baseline f_b.
        behind: What erased pixels were replaced by while tuning; see `faint`.
        backgrounds: Others, by name.
    """

    explainer: LearnedMask = field(default_factory=LearnedMask)
    base: Classifier | None = None
    behind: Background = Constant()
    backgrounds: Mapping[str, Background] = field(default_factory=dict)

    @property
    def explainers(self) -> tuple[Explainer, ...]:
        """See `ScoredStudy.explainers`."""
        return (self.explainer,)

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`."""
        assert self.base is not None
        model, case = asked.model, block.case
        learned, cost = timed(model, lambda: _maps(replace(self.explainer, edges=False), case))
        # The recipe's own mask is judged by everything; the other form by its place alone.
        edges = self.explainer.edges
        masks, other = (drawn_masks(learned, case.images, one) for one in (edges, not edges))
        own, form = Attribution.of(MASK), Attribution(PLAIN_MASK, MASK) if edges else Attribution.of(MASK, finer=True)
        found = [*self.located(block, own, masks, self.explainer)]
        found += self.located(block, form, other, replace(self.explainer, edges=not edges))
        wanted, labels = self.base.predict(case.images), _judged(block).targets
        halves = (masks >= 0.5).float()
        whole = case.logits.argmax(1)
        values = {
            ScoreName("agreement, images", "whole"): whole == wanted,
            ScoreName("accuracy, images", "whole"): whole == labels,
            ScoreName("kept", "kept"): halves.mean((1, 2, 3)),
        }
        behind = {"": faint(self.behind, case.images.shape[1]), f", {WIDE}": self.behind}
        for kind, left in (("rounded", halves), ("soft", masks)):
            for measure, targets in (("agreement", wanted), ("accuracy", labels)):
                for end, agreed in self._erased(model, case, left, targets, behind).items():
                    values[ScoreName(f"{measure}, {kind} masks{end}", "erased")] = agreed
        found.append(rows(block, own, values))
        flat = case.images.mean((2, 3), keepdim=True).expand_as(case.images)
        for what, judge, images, left in (
            (MASK, model, case.images, halves),
            (BASES_MASK, self.base, case.images, halves),
            (ANOTHER_MASK, model, case.images, halves.roll(1, 0)),
            (SHAPE_ALONE, model, flat, halves),
        ):
            erased = self._erased(judge, replace(case, images=images, outputs=None), left, wanted, self.backgrounds)
            before = {ScoreName(f"before {name}", "background", name): value for name, value in erased.items()}
            found.append(rows(block, Attribution(what, MASK), before))
        found += _alone(block, model)
        return Kept({"scores": pl.concat(found), "costs": pl.DataFrame([{"attribution": MASK, "images": len(masks), **cost}])})

    def _erased(self, model: Classifier, case: Case, masks: Tensor, targets: Tensor, behind: Mapping[str, Background]) -> dict[str, Tensor]:
        found = erasure_agreement(model, case.images, masks, list(behind.values()), targets, seed=case.seed, index=case.index)
        return dict(zip(behind, found, strict=True))


@dataclass(frozen=True)
class ClassesStudy(ScoredStudy):
    """Classes of whole images: right by the labels, and as the baseline, which is the model asked about, has them.

    Attributes:
        others: The tuned models by recipe and seed.
    """

    others: Mapping[tuple[str, int], Classifier] = field(default_factory=dict)

    @property
    def explainers(self) -> tuple[Explainer, ...]:
        """None take part."""
        return ()

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`; its scores have columns of the model and the seed."""
        wanted, labels = block.case.logits.argmax(1), _judged(block).targets
        accuracy, agreement = ScoreName("accuracy", "whole"), ScoreName("agreement", "whole")
        found = [_of_model(rows(block, _NO_MAP, {accuracy: wanted == labels}), BASELINE, 0)]
        for (name, seed), model in self.others.items():
            own = model.predict(block.case.images)
            found.append(_of_model(rows(block, _NO_MAP, {accuracy: own == labels, agreement: own == wanted}), name, seed))
        return Kept({"scores": pl.concat(found), "costs": pl.DataFrame({"attribution": ["classes"], "images": [len(labels)]})})


def rows(block: Block, whose: Attribution, values: Mapping[ScoreName, Tensor]) -> pl.DataFrame:
    """Values (n,) as a long table: image, attribution, maker, finer, measure, kind, background, value."""
    own = {"attribution": whose.label, "maker": whose.maker, "finer": whose.finer}
    return pl.concat(
        value_rows(block.case.index, value, {**own, "measure": what.label, "kind": what.kind, "background": what.background})
        for what, value in values.items()
    )


def _of_model(table: pl.DataFrame, name: str, seed: int) -> pl.DataFrame:
    return table.select(pl.lit(name).alias("model"), pl.lit(seed).alias("seed"), pl.all())


def timed(model: Classifier, make: Callable[[], Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """What a call makes, with its seconds and the model's passes."""
    forward, backward, began = model.passes.forward, model.passes.backward, time.perf_counter()
    made = make()
    seconds = time.perf_counter() - began
    return made, {"seconds": seconds, "passes": model.passes.forward + model.passes.backward - forward - backward}


def _maps(explainer: Explainer, case: Case) -> Tensor:
    return explainer(case.model, case.images, case.targets, index=case.index, seed=case.seed)


def _judged(block: Block) -> Case:
    """The block's case with the labels as targets."""
    assert block.batch.labels is not None
    return replace(block.case, targets=block.batch.labels.to(block.case.images.device))


def _alone(block: Block, model: Classifier) -> list[pl.DataFrame]:
    """The authors' verifiability: how far the probabilities move when all but the known evidence is black (L1)."""
    case = block.case
    if case.truth is None:
        return []
    there = case.truth.flatten(1).any(1)
    apart = (probabilities(model, case.images) - probabilities(model, case.images * case.truth)).abs().sum(1)
    return [rows(block, Attribution(EVIDENCE_ALONE, ""), {ScoreName("L1", "distance"): torch.where(there, apart, torch.nan)})]


def _of(mask: Tensor | None, images: Tensor) -> Tensor:
    return torch.zeros_like(images[:, :1], dtype=torch.bool) if mask is None else mask
