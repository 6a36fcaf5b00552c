"""What an audit does with a block of images: explain, measure, hold against nulls, and keep it all in rows of tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from assay.core.registry import short
from assay.explain.base import Explainer
from assay.measure.attacked import AttackedSimilarity
from assay.measure.base import Measure
from assay.study.asked import Block
from assay.study.audit.looks import classes_table
from assay.study.audit.nulls import Nulls, agreements, scored_with_nulls
from assay.study.audit.questions.held import Rated
from assay.study.audit.standard import FLOOR
from assay.study.gallery_images import GalleryImage, gallery_image
from assay.study.study import Tell

__all__ = ["AuditPlan", "BlockScores", "block_scores"]


@dataclass(frozen=True, eq=False)
class AuditPlan:
    """What an audit does, all of it.

    Attributes:
        explainers: What is audited, without the floor.
        measures: What scores the maps.
        attacked: Those of the measures whose attacks a report shows.
        nulls: What the maps are held against.
        gallery: Images shown in the report.
        smallest_effect: The smallest effect that counts, in standard deviations of the paired differences.
    """

    explainers: Sequence[Explainer]
    measures: Sequence[Measure]
    attacked: Sequence[AttackedSimilarity]
    nulls: Nulls
    gallery: int
    smallest_effect: float

    @property
    def everyone(self) -> list[Explainer]:
        """The explainers and the floor."""
        return [*self.explainers, FLOOR]

    @property
    def labels(self) -> list[str]:
        """The measures' class names, with parameters only where one class stands twice."""
        names = [type(one).__name__ for one in self.measures]
        return [name if names.count(name) == 1 else short(one) for name, one in zip(names, self.measures, strict=True)]

    @property
    def rated(self) -> list[Rated]:
        """The measures that answer questions, by name."""
        own = zip(self.labels, self.measures, strict=True)
        return [Rated(name, one.higher_is_better, one.category, "truth" in one.needs) for name, one in own if one in self.nulls.measures]


@dataclass(frozen=True, eq=False)
class BlockScores:
    """What a block of images scores.

    Attributes:
        block: The images.
        maps: (N, C, H, W) by explainer, the floor's last, on the CPU.
        doubt: (explainers and floor, N, H, W) bool, pixels whose value the explainer cannot tell from 0.
        values: (measures, explainers and floor, N), NaN where an output or a map is not finite.
        tables: Rows of the tables scores, classes and flat, and where the block is held against nulls, nulls and agreement.
    """

    block: Block
    maps: Mapping[str, Tensor]
    doubt: Tensor
    values: Tensor
    tables: Mapping[str, pl.DataFrame]

    def shown(self, wanted: Sequence[int]) -> list[tuple[int, GalleryImage]]:
        """Images for the gallery, with their slots: the first sound one at or after each position that no other slot has.

        Args:
            wanted: The position of each slot; those that the block has not are left out.
        """
        block, found = self.block, []
        free = [place for place, fine in enumerate(block.decision.outputs.isfinite().all(1).tolist()) if fine]
        for slot, row in enumerate(wanted):
            place = next((place for place in free if block.at[place] >= row), None) if row in block.rows else None
            if place is not None:
                free.remove(place)
                maps = [one[place] for one in self.maps.values()][:-1]
                values, doubt = self.values[:, :, place], self.doubt[:-1, place]
                found.append((slot, gallery_image(block.batch, place, block.decision, maps, doubt, values)))
        return found


def block_scores(plan: AuditPlan, block: Block, tell: Tell) -> BlockScores:
    """Explain a block of images and measure the maps.

    Args:
        plan: What to do.
        block: The images.
        tell: Called as the work goes on.
    """
    case, count, everyone, nulls = block.case, len(block.batch), plan.everyone, plan.nulls
    maps, doubts, steps = [], [], len(everyone) + len(plan.measures) + 1
    sure = torch.zeros(count, *case.images.shape[2:], dtype=torch.bool)
    for place, explainer in enumerate(everyone):
        tell(count * place // steps)
        found, doubt = explainer.with_doubt(case.model, case.images, case.targets, case.index, case.seed)
        maps.append(found)
        doubts.append(sure if doubt is None else doubt[:, 0].cpu())
    clean = [one.nan_to_num(0.0, 0.0, 0.0) for one in maps]
    lost = torch.stack([~one.flatten(1).isfinite().all(1) for one in maps]) | ~case.finite
    held = nulls.wanted(block.rows, block.asked.images)
    made = nulls.extra(case, clean[:-1], lost) if held else None
    tell(count * len(maps) // steps)
    rated, against = [], []
    for place, measure in enumerate(plan.measures):
        tell(count * (len(maps) + 1 + place) // steps)
        own, null = scored_with_nulls(measure, case, clean, everyone, made.maps if made and measure in nulls.measures else [])
        rated.append(own)
        against += [] if null is None or made is None else [made.averaged(null)]
    values = torch.stack(rated).masked_fill(lost, math.nan).cpu()
    named = dict(zip(map(short, plan.explainers), clean[:-1], strict=True))
    flat = {name: int((one.flatten(1).amax(1) == one.flatten(1).amin(1)).sum()) for name, one in named.items()}
    tables = classes_table(block.decision, flat)
    if made and against:
        found = torch.stack(against).masked_fill(~made.known, math.nan).cpu()
        tables["nulls"] = nulls.table(block.batch.index, found, [one.name for one in plan.rated])
        tables["agreement"] = agreements(block.batch.index, named)
    tables["scores"] = _table(plan, block.batch.index, values)
    own_maps = {short(one): each.cpu() for one, each in zip(everyone, maps, strict=True)}
    return BlockScores(block, own_maps, torch.stack(doubts), values, tables)


def _table(plan: AuditPlan, index: Tensor, values: Tensor) -> pl.DataFrame:
    """A row for each image, explainer and measure, in this order, so that blocks can be put one after another."""
    names = [short(one) for one in plan.everyone]
    directions = ["higher" if one.higher_is_better else "lower" for one in plan.measures]
    return pl.DataFrame(
        {
            "image": index.repeat_interleave(len(names) * len(directions)).numpy(),
            "explainer": [name for name in names for _ in directions] * len(index),
            "measure": plan.labels * (len(names) * len(index)),
            "value": values.permute(2, 1, 0).flatten().double().numpy(),
            "direction": directions * (len(names) * len(index)),
        }
    )
