"""How long maps and marginal contributions are, and how they lie to each other: what the theorem on faithfulness asks of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from assay.core.registry import short
from assay.measure.contribution import contributions
from assay.papers.paper import value_rows
from assay.papers.robustness.measured import VALUES, OneTable
from assay.study.study import Asked, Block, Kept, Tell, check_distinct

__all__ = ["ALONG", "LONG", "ConditionStudy"]

LONG, ALONG = "|p| / |map|", "p . map / |map|^2"
"""What is kept of each image and explainer."""


@dataclass(frozen=True)
class ConditionStudy(OneTable):
    """Hold maps against the marginal contributions p of definition 3.4, by length and by direction.

    Attributes:
        groups: About how many groups of pixels.
    """

    groups: int = 100

    command: ClassVar[str] = "condition"

    def check(self, asked: Asked) -> None:
        """See `Study.check`."""
        check_distinct(self.explainer)
        asked.model.count_classes(next(asked.read([range(1)])).batch.images.shape[1:])

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """`|p| / |map|`, and `p . map / |map|^2`: below one half, `1 / |map - p|` is smaller there than at an endless width, `1 / |p|`."""
        case = block.case
        found = contributions(case, self.groups)
        rows = []
        for explainer in self.explainer:
            maps = found.pooled(explainer(case.model, case.images, case.targets, seed=case.seed, index=case.index)) * found.own
            size = maps.norm(dim=1)
            kept = {LONG: found.slopes.norm(dim=1) / size, ALONG: (found.slopes * maps).sum(1) / size**2}
            rows += [value_rows(case.index, values, {"explainer": short(explainer), "measure": name}) for name, values in kept.items()]
        return Kept({VALUES: pl.concat(rows)})
