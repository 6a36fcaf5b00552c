"""What measures say of several explainers' maps of one network: a study whose blocks are rows of one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl
import torch
from torch import Tensor

from assay.core.registry import short
from assay.errors import SpecError
from assay.explain.base import Explainer
from assay.measure.base import Measure
from assay.models.classifier import Classifier
from assay.models.passes import scores
from assay.papers.paper import value_rows
from assay.study.audit.study import AuditStudy, audit
from assay.study.study import Asked, Block, Done, Kept, Report, Study, Tell, check_distinct

__all__ = ["ANSWERS", "SCORE", "VALUES", "HeldAgainstNulls", "Measured", "OneTable", "Score"]

VALUES = "values"
"""The table: image, explainer, measure, value."""
ANSWERS = "answers"
"""The table: the columns of `Audit.answers`, and trusted."""
SCORE = "score"
"""What tables call the score itself where explainers stand."""


class Score(Explainer):
    """The score itself as a map of one number, so that what measures the robustness of maps measures that of the model."""

    category: ClassVar[str] = "control"
    reference: ClassVar[str] = "Tan, Tian: Robust Explanation for Free or At the Cost of Faithfulness, ICML 2023, definition 3.2"

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """Scores (N, 1, 1, 1)."""
        assert targets is not None
        rows = torch.arange(len(images), device=images.device)
        return scores(model, targets, rows, images.shape[1:], lambda start, stop: images[start:stop]).view(-1, 1, 1, 1)


@dataclass(frozen=True)
class OneTable(Study):
    """Base of studies of maps whose blocks leave rows of one table.

    Attributes:
        explainer: What makes the maps.
        measure: What is asked of them.
    """

    explainer: tuple[Explainer, ...]
    measure: tuple[Measure, ...] = ()

    table: ClassVar[str] = VALUES

    def conclude(self, asked: Asked, done: Done) -> Report:
        """The table as a file."""
        return Report(found=lambda: done.table(self.table), merged={f"{self.table}.parquet": self.table})

    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""
        return asked.record(self.explainer, self.measure, {})


@dataclass(frozen=True)
class Measured(OneTable):
    """Measure the maps of several explainers.

    Attributes:
        score: Whether measures of robustness are asked of the score too.
    """

    score: bool = False

    command: ClassVar[str] = "measured"

    def check(self, asked: Asked) -> None:
        """See `Study.check`.

        Raises:
            SpecError: An explainer is given twice, or a measure needs what there is not.
        """
        if self.explainer:  # There may be none where the score alone is measured.
            check_distinct(self.explainer)
        for one in self.measure:
            if one.needs & {"truth", "distractor"}:
                raise SpecError(f"{short(one)} needs masks, which these images have not")
        asked.model.count_classes(next(asked.read([range(1)])).batch.images.shape[1:])

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """Every measure of every explainer's map, targets held."""
        case, rows = block.case, []
        if self.score:
            rows += self._rows(block, [SCORE], [Score()], [one for one in self.measure if "explainer" in one.needs])
        # What does not make new maps is asked of all maps at once, whose passes it shares.
        shared = [one for one in self.measure if "explainer" not in one.needs]
        alone = [one for one in self.measure if "explainer" in one.needs]
        names = [short(one) for one in self.explainer]
        rows += self._rows(block, names, list(self.explainer), shared)
        for place, explainer in enumerate(self.explainer):
            rows += self._rows(block, names[place : place + 1], [explainer], alone)
            tell(len(case.index) * (place + 1) // len(self.explainer))
        return Kept({VALUES: pl.concat(rows)} if rows else {})

    def _rows(self, block: Block, names: list[str], explainers: list[Explainer], measures: list[Measure]) -> list[pl.DataFrame]:
        if not measures:
            return []
        case = block.case
        maps = [one(case.model, case.images, case.targets, seed=case.seed, index=case.index) for one in explainers]
        return [
            value_rows(case.index, values, {"explainer": name, "measure": short(measure)})
            for measure in measures
            for name, values in zip(names, measure.evaluate(case, maps, explainers), strict=True)
        ]


@dataclass(frozen=True)
class HeldAgainstNulls(OneTable):
    """Audit several explainers: hold their maps against the nulls of a verdict, all images together."""

    command: ClassVar[str] = "held against nulls"
    table: ClassVar[str] = ANSWERS

    def check(self, asked: Asked) -> None:
        """See `Study.check`."""
        AuditStudy(explainer=self.explainer, measure=self.measure).check(asked)

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """The audit's answers, which rest on all images of the block."""
        case, labels = block.case, block.batch.labels
        found = audit(
            case.model,
            case.images,
            case.targets,
            self.explainer,
            self.measure,
            case.seed,
            index=case.index,
            labels=labels,
            gallery=1,
            progress=lambda _, done, total: tell(len(case.index) * done // max(total, 1)),
        )
        return Kept({ANSWERS: found.answers.with_columns(pl.col("explainer").is_in(found.trusted).alias("trusted"))})
