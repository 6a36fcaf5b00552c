"""What an audit does with one block of images: explain, measure, and put all that is kept into rows of tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl
import torch
from torch import Tensor

from assay.core.registry import short
from assay.data.base import Batch, Corrupt
from assay.errors import ModelError
from assay.explain.base import Explainer
from assay.explain.random import RandomMap
from assay.measure.attacked import AttackedSimilarity
from assay.measure.base import Case, Measure
from assay.models.classifier import Classifier
from assay.models.randomised import randomised
from assay.models.targets import Decision
from assay.run.paths import UNREAD
from assay.run.record import record
from assay.study.audit.answers import SMALLEST, Rated
from assay.study.audit.looks import classes_table
from assay.study.audit.nulls import Nulls, agreements, judges, scored
from assay.study.gallery import Shown, pack, places, show
from assay.study.source import Source, placed
from assay.study.targeting import PREDICTED, Targeting

__all__ = ["FLOOR", "OK", "Line", "Work", "lines_of", "lines_of_unread", "status_table"]

FLOOR = RandomMap()
OK = "ok"
Line = tuple[str, str, int | None, int | None]
"""Name, status, label and predicted class (none where the output is not finite) of an image."""
_STATUS = {"image": pl.Int64, "name": pl.String, "status": pl.String, "label": pl.Int64, "predicted": pl.Int64}


@dataclass(frozen=True, eq=False)
class Work:
    """An audit's plan.

    Attributes:
        model: The model to explain.
        explainers: What explains it, without the floor.
        measures: What scores the maps.
        seed: Decides all randomness, together with the images' numbers.
        images: Images in all.
        gallery: Images for the report.
        targets: What is explained of each image.
        attacks: Those of the measures whose attacks the report shows.
        facts: What else is known of accuracy, for the report.
        smallest: The smallest effect that counts, in standard deviations of the paired differences.
        truth: Whether the images bring masks of the known evidence.
    """

    model: Classifier
    explainers: Sequence[Explainer]
    measures: Sequence[Measure]
    seed: int
    images: int
    gallery: int
    targets: Targeting = PREDICTED
    attacks: Sequence[AttackedSimilarity] = ()
    facts: dict[str, str] = field(default_factory=dict)
    smallest: float = SMALLEST
    truth: bool = False

    @cached_property
    def nulls(self) -> Nulls:
        """What the maps are held against; the model with random weights is made once."""
        measures = judges(self.measures)
        try:
            twin = randomised(self.model, "all", self.seed) if measures else None
        except ModelError:
            twin = None
        return Nulls(self.explainers, measures, self.seed, twin, self.truth)

    @property
    def rated(self) -> list[Rated]:
        """The measures that answer questions, by name."""
        own = zip(self.labels, self.measures, strict=True)
        return [Rated(name, one.higher_is_better, one.category, "truth" in one.needs) for name, one in own if one in self.nulls.measures]

    @property
    def everyone(self) -> list[Explainer]:
        """The explainers and the floor."""
        return [*self.explainers, FLOOR]

    @property
    def labels(self) -> list[str]:
        """The measures' class names, with parameters only where one class stands twice."""
        names = [type(one).__name__ for one in self.measures]
        return [name if names.count(name) == 1 else short(one) for name, one in zip(names, self.measures, strict=True)]

    def record(self, data: Mapping[str, Any], indices: Sequence[int]) -> dict[str, Any]:
        """The seven reproducibility answers.

        Args:
            data: The data set's name, hash and split.
            indices: The images' numbers.
        """
        return record(self.model, self.everyone, self.measures, data, indices, self.seed, {"targets": self.targets.name})

    def tables(
        self, source: Source, rows: range, batch: Batch, tell: Callable[[int], None], shown_from: Sequence[int] | None = None
    ) -> dict[str, pl.DataFrame]:
        """Rows of the tables scores, status, nulls, agreement, classes and flat, and, where the block has images of the gallery, gallery.

        Args:
            source: Where the batch is from.
            rows: The block's positions.
            batch: Its images.
            tell: Called with the images done, where one half done counts by halves.
            shown_from: Positions from which images for the gallery are looked for within the block; by default those of the plan.
        """
        at, unread = placed(source, rows, batch)
        lines = lines_of_unread(unread)
        tables: dict[str, pl.DataFrame] = {}
        if at:
            held = self.nulls.wanted(rows, self.images)
            decision, maps, values, more = self._measured(batch, at, tell, held)
            tables |= {"scores": self._scores(batch.index, values), **more}
            lines |= zip(at, lines_of(batch, decision, dict(zip(map(short, self.everyone), maps, strict=True))), strict=True)
            wanted = places(self.gallery, self.images) if shown_from is None else shown_from
            shown = self._shown(batch, at, [(slot, row) for slot, row in enumerate(wanted) if row in rows], decision, maps, values)
            if shown:
                tables["gallery"] = pack(shown)
        tables["status"] = status_table(source, rows, lines)
        return tables

    def _measured(
        self, batch: Batch, at: list[int], tell: Callable[[int], None], held: bool
    ) -> tuple[Decision, list[Tensor], Tensor, dict[str, pl.DataFrame]]:
        """The decision, maps of everyone, and values (measures, everyone, N), NaN where an output or a map is not finite; tables.

        Args:
            batch: The images.
            at: Their positions.
            tell: Called with the images done.
            held: Whether the maps are held against nulls.
        """
        count, home = len(batch), self.model.device
        images, index = batch.images.to(home), batch.index.to(home)
        logits = self.model.unchecked_logits(images)
        targets = self.targets.of(self.model, logits, batch, at)
        case = Case(
            self.model,
            images,
            targets,
            index,
            self.seed,
            *(None if mask is None else mask.to(home) for mask in (batch.truth, batch.distractor)),
        )
        case.__dict__["logits"] = logits
        maps, steps = [], len(self.everyone) + len(self.measures) + 1
        for place, explainer in enumerate(self.everyone):
            tell(count * place // steps)
            maps.append(explainer.attribute(self.model, images, targets, index, self.seed))
        clean = [one.nan_to_num(0.0, 0.0, 0.0) for one in maps]
        lost = torch.stack([~one.flatten(1).isfinite().all(1) for one in maps]) | ~logits.flatten(1).isfinite().all(1)
        made, known = self.nulls.extra(case, clean[:-1], lost) if held else ([], lost)
        tell(count * len(maps) // steps)
        rated, against = [], []
        for place, measure in enumerate(self.measures):
            tell(count * (len(maps) + 1 + place) // steps)
            own, nulls = scored(measure, case, clean, self.everyone, made if measure in self.nulls.measures else [])
            rated.append(own)
            against += [] if nulls is None else [nulls]
        values = torch.stack(rated).masked_fill(lost, math.nan).cpu()
        names = [short(one) for one in self.explainers]
        flat = {name: int((one.flatten(1).amax(1) == one.flatten(1).amin(1)).sum()) for name, one in zip(names, clean[:-1], strict=True)}
        decision = self.model.decide(logits, targets)
        tables = classes_table(decision.outputs.cpu(), decision.ids.cpu(), flat)
        if held and against:
            found = torch.stack(against).masked_fill(~known, math.nan).cpu()
            tables["nulls"] = self.nulls.table(batch.index, found, [one.name for one in self.rated])
            tables["agreement"] = agreements(batch.index, dict(zip(names, clean[:-1], strict=True)))
        return decision, [one.cpu() for one in maps], values, tables

    def _scores(self, index: Tensor, values: Tensor) -> pl.DataFrame:
        """A row for each image, explainer and measure, in this order, so that blocks can be put one after another."""
        count, everyone, measures = len(index), [short(one) for one in self.everyone], self.labels
        directions = ["higher" if one.higher_is_better else "lower" for one in self.measures]
        return pl.DataFrame(
            {
                "image": index.repeat_interleave(len(everyone) * len(measures)).numpy(),
                "explainer": [name for name in everyone for _ in measures] * count,
                "measure": measures * (len(everyone) * count),
                "value": values.permute(2, 1, 0).flatten().double().numpy(),
                "direction": directions * (len(everyone) * count),
            }
        )

    def _shown(
        self, batch: Batch, at: list[int], slots: list[tuple[int, int]], decision: Decision, maps: list[Tensor], values: Tensor
    ) -> list[tuple[int, Shown]]:
        """The first sound image at or after each slot's position that no other slot has."""
        free = [place for place, fine in enumerate(decision.outputs.isfinite().all(1).tolist()) if fine]
        found = []
        for slot, row in slots:
            place = next((place for place in free if at[place] >= row), None)
            if place is not None:
                free.remove(place)
                found.append((slot, show(batch, place, decision, [own[place] for own in maps[:-1]], values[:, :, place])))
        return found


def status_table(source: Source, rows: range, lines: Mapping[int, Line]) -> pl.DataFrame:
    """The status of a block's images: number, name, status, label and predicted class.

    Args:
        source: Where the images are from.
        rows: The block's positions.
        lines: A line for each.
    """
    numbers = source.indices
    return pl.DataFrame([(int(numbers[row]), *lines[row]) for row in rows], schema=_STATUS, orient="row")


def lines_of_unread(unread: Sequence[tuple[int, Corrupt]]) -> dict[int, Line]:
    """Lines, by position, of files that cannot be read."""
    return {row: (error.name, UNREAD + error.message, None, None) for row, error in unread}


def lines_of(batch: Batch, decision: Decision, maps: Mapping[str, Tensor]) -> list[Line]:
    """A line for each image of a batch: whether its output and maps are finite, or what is not.

    Args:
        batch: The images.
        decision: What the model decides about them.
        maps: (N, C, H, W) by explainer's name.
    """
    labels = [None] * len(batch) if batch.labels is None else batch.labels.tolist()
    whole = {name: one.flatten(1).isfinite().all(1).tolist() for name, one in maps.items()}
    sound, best = decision.outputs.isfinite().all(1).tolist(), decision.chosen.tolist()
    found: list[Line] = []
    for place, name in enumerate(batch.names):
        lost = [explainer for explainer, fine in whole.items() if not fine[place]]
        broken = f"NaN or infinity in the map of {', '.join(lost)}" if lost else OK
        status = broken if sound[place] else "the model's output is NaN or infinite"
        found.append((name, status, labels[place], best[place] if sound[place] else None))
    return found
