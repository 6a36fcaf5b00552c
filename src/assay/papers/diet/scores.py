"""What maps of the baseline, and masks of a tuned model, come to on each image: studies whose tables the paper's are made of."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

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
from assay.run.record import record
from assay.study.study import Asked, Block, Done, Kept, Report, Study, Tell
from assay.tune.backgrounds import DatasetMean, RandomColour
from assay.tune.explainer import LearnedMask
from assay.tune.predictions import probabilities
from assay.tune.simplify import drawn_masks

__all__ = [
    "IOU",
    "KEEP",
    "MASK",
    "PLAIN_MASK",
    "WHITE",
    "WIDE",
    "ClassesStudy",
    "MapsStudy",
    "MasksStudy",
    "ScoredStudy",
    "faint",
    "refined",
]

IOU, WHITE, KEEP = "IoU", "IoU, white pixels", "keep {:g} %"
MASK, PLAIN_MASK = "mask", "mask, without edges"
"""A recipe's own mask, and the same before it is drawn along the image's edges, where the recipe does so."""
_COLOUR = DatasetMean((0.527, 0.447, 0.403))
"""What the authors' pixel perturbation fills with."""
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


def refined(name: str) -> str:
    """What the tables call an attribution that is drawn along the images' edges."""
    return f"{name}, refined"


@dataclass(frozen=True, kw_only=True)
class ScoredStudy(Study):
    """What the studies of this paper share: tables "scores" (image, attribution, measure, value) and "costs".

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

    def conclude(self, asked: Asked, done: Done) -> Report:  # noqa: ARG002
        """The tables as they are."""
        done.require_sound("scored")
        return Report(found=lambda: None, merged={"scores.parquet": "scores", "costs.csv": "costs", "status.csv": "status"})

    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""
        told = {"keep": list(self.keep), "white": self.white}
        return record(asked.model, self.explainers, (), asked.data, asked.source.indices, asked.seed, told)

    def located(self, block: Block, name: str, maps: Tensor, explainer: Explainer) -> Iterator[pl.DataFrame]:
        """Scores of maps: overlap with the truth, share on the distractor, accuracy on the top pixels."""
        case, measures = _judged(block), dict[str, Measure]()
        if case.truth is not None:
            measures[IOU] = MaskIoU(order="magnitude")
        if case.distractor is not None:
            measures["on distractor"] = DistractorShare()
        measures |= {KEEP.format(100 * share): KeepTop(share, _COLOUR) for share in self.keep}
        for measure, one in measures.items():
            yield rows(block, name, {measure: one.evaluate(case, [maps], [explainer])[0]})
        if self.white:
            bright = (case.images.sum(1, keepdim=True) >= _BRIGHT) & ~_of(case.distractor, case.images)
            yield rows(block, name, {WHITE: MaskIoU(order="magnitude").evaluate(replace(case, truth=bright), [maps], [explainer])[0]})


@dataclass(frozen=True)
class MapsStudy(ScoredStudy):
    """Explainers of the baseline, each as it is and drawn along the images' edges."""

    explainers: tuple[Explainer, ...] = ()

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`."""
        found, costs = list[pl.DataFrame](), list[dict[str, Any]]()
        for number, explainer in enumerate(self.explainers):
            case = block.case
            maps, cost = timed(asked.model, lambda explainer=explainer, case=case: _maps(explainer, case))  # type: ignore[misc]
            name = short(explainer)
            costs.append({"attribution": name, "images": len(maps), **cost})
            found += self.located(block, name, maps, explainer)
            finer = Refined(explainer)
            found += self.located(block, refined(name), finer.along(maps, case.images), finer)
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
    behind: Background = Constant()  # noqa: RUF009  (frozen)
    backgrounds: Mapping[str, Background] = field(default_factory=dict)

    @property
    def explainers(self) -> tuple[Explainer, ...]:
        """See `ScoredStudy.explainers`."""
        return (self.explainer,)

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`."""
        del tell
        assert self.base is not None
        model, case = asked.model, block.case
        learned, cost = timed(model, lambda: _maps(replace(self.explainer, edges=False), case))
        # The recipe's own mask is judged by everything; the other form by its place alone.
        edges = self.explainer.edges
        masks, other = (drawn_masks(learned, case.images, one) for one in (edges, not edges))
        found = [*self.located(block, MASK, masks, self.explainer)]
        found += self.located(block, PLAIN_MASK if edges else refined(MASK), other, replace(self.explainer, edges=not edges))
        wanted, labels = self.base.predict(case.images), _judged(block).targets
        halves = (masks >= 0.5).float()
        whole = case.logits.argmax(1)
        values = {"agreement, images": whole == wanted, "accuracy, images": whole == labels, "kept": halves.mean((1, 2, 3))}
        behind = {"": faint(self.behind, case.images.shape[1]), f", {WIDE}": self.behind}
        for kind, left in (("rounded", halves), ("soft", masks)):
            for measure, targets in (("agreement", wanted), ("accuracy", labels)):
                for end, agreed in self._erased(model, case, left, targets, behind).items():
                    values[f"{measure}, {kind} masks{end}"] = agreed
        found.append(rows(block, MASK, values))
        flat = case.images.mean((2, 3), keepdim=True).expand_as(case.images)
        for what, judge, images, left in (
            ("mask", model, case.images, halves),
            ("mask, f_b", self.base, case.images, halves),
            ("another image's mask", model, case.images, halves.roll(1, 0)),
            ("the mask's shape alone", model, flat, halves),
        ):
            erased = self._erased(judge, replace(case, images=images, outputs=None), left, wanted, self.backgrounds)
            found.append(rows(block, what, {f"before {name}": value for name, value in erased.items()}))
        found += _alone(block, model)
        return Kept({"scores": pl.concat(found), "costs": pl.DataFrame([{"attribution": MASK, "images": len(masks), **cost}])})

    def _erased(self, model: Classifier, case: Case, masks: Tensor, targets: Tensor, behind: Mapping[str, Background]) -> dict[str, Tensor]:
        found = erasure_agreement(model, case.images, masks, list(behind.values()), targets, seed=case.seed, index=case.index)
        return dict(zip(behind, found, strict=True))


@dataclass(frozen=True)
class ClassesStudy(ScoredStudy):
    """Classes of whole images: right by the labels, and as the baseline, which is the model asked about, has them.

    Attributes:
        others: The tuned models by name.
    """

    others: Mapping[str, Classifier] = field(default_factory=dict)

    @property
    def explainers(self) -> tuple[Explainer, ...]:
        """None take part."""
        return ()

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`."""
        del asked, tell
        wanted, labels = block.case.logits.argmax(1), _judged(block).targets
        found = [rows(block, "f_b", {"accuracy": wanted == labels})]
        for name, model in self.others.items():
            own = model.predict(block.case.images)
            found.append(rows(block, name, {"accuracy": own == labels, "agreement": own == wanted}))
        return Kept({"scores": pl.concat(found), "costs": pl.DataFrame({"attribution": ["classes"], "images": [len(labels)]})})


def rows(block: Block, attribution: str, values: Mapping[str, Tensor]) -> pl.DataFrame:
    """Values (n,) by measure as a long table."""
    image = block.case.index.cpu().numpy()
    return pl.concat(
        pl.DataFrame({"image": image, "value": value.double().cpu().numpy()}).select(
            "image", pl.lit(attribution).alias("attribution"), pl.lit(measure).alias("measure"), "value"
        )
        for measure, value in values.items()
    )


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
    return [rows(block, "evidence alone", {"L1": torch.where(there, apart, torch.nan)})]


def _of(mask: Tensor | None, images: Tensor) -> Tensor:
    return torch.zeros_like(images[:, :1], dtype=torch.bool) if mask is None else mask
