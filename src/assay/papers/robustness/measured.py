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
from assay.run.record import record
from assay.study.audit.study import AuditStudy, audit
from assay.study.study import Asked, Block, Done, Kept, Report, Study, Tell, check_distinct

__all__ = ["ANSWERS", "SCORE", "VALUES", "HeldAgainstNulls", "Measured", "Score"]

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
class Measured(Study):
    """Measure the maps of several explainers.

    Attributes:
        explainer: What makes the maps.
        measure: What is asked of them.
        score: Whether measures of robustness are asked of the score too.
    """

    explainer: tuple[Explainer, ...]
    measure: tuple[Measure, ...]
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

    def conclude(self, asked: Asked, done: Done) -> Report:
        """`values.parquet`."""
        return Report(found=lambda: done.table(VALUES), merged={f"{VALUES}.parquet": VALUES})

    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""
        return record(asked.model, self.explainer, self.measure, asked.data, asked.source.indices, asked.seed, {"targets": asked.explained})

    def _rows(self, block: Block, names: list[str], explainers: list[Explainer], measures: list[Measure]) -> list[pl.DataFrame]:
        if not measures:
            return []
        case = block.case
        maps = [one(case.model, case.images, case.targets, seed=case.seed, index=case.index) for one in explainers]
        return [
            pl.DataFrame({"image": case.index.cpu().numpy(), "value": values.double().cpu().numpy()}).select(
                "image", pl.lit(name).alias("explainer"), pl.lit(short(measure)).alias("measure"), "value"
            )
            for measure in measures
            for name, values in zip(names, measure.evaluate(case, maps, explainers), strict=True)
        ]


@dataclass(frozen=True)
class HeldAgainstNulls(Study):
    """Audit several explainers: hold their maps against the nulls of a verdict, all images together.

    Attributes:
        explainer: What makes the maps.
        measure: What they are held by.
    """

    explainer: tuple[Explainer, ...]
    measure: tuple[Measure, ...]

    command: ClassVar[str] = "held against nulls"

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

    def conclude(self, asked: Asked, done: Done) -> Report:
        """`answers.parquet`."""
        return Report(found=lambda: done.table(ANSWERS), merged={f"{ANSWERS}.parquet": ANSWERS})

    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""
        return record(asked.model, self.explainer, self.measure, asked.data, asked.source.indices, asked.seed, {"targets": asked.explained})
