"""What one form of the DiET study's data came to: values per image, rounds, models, and what is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from torch import Tensor

from assay.data import Dataset
from assay.papers.diet.data import Part
from assay.papers.diet.networks import Baseline
from assay.papers.diet.scores import Values
from assay.tune.diet import Tuned

__all__ = ["BASELINE", "MASK", "NETWORK", "Outcome", "Scored"]

BASELINE = "f_b"
"""What the tables call the baseline."""
MASK = "mask"
"""What they call DiET's own attribution."""
NETWORK = "mask network"
"""What they call the masks that a small network predicts in one pass."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Per-image values of one model, and of one attribution where maps were scored.

    Attributes:
        part: "tune", "test" or "reversed".
        model: `BASELINE` or a method's name.
        attribution: An explainer's short spec, `MASK`, `NETWORK`, or what was done to the masks; "" where models were compared.
        kind: Which step: "model", "maps", "simplified" or "erasure".
        index: (N,) the images' numbers.
        values: (N,) by measure.
        seconds: Time per image of making the maps; 0 where none were made.
        shown: (G, 1, H, W) maps of the gallery's images, or none.
    """

    part: str
    model: str
    attribution: str
    kind: str
    index: Tensor
    values: Values
    seconds: float = 0.0
    shown: Tensor | None = None

    def frame(self) -> pl.DataFrame:
        """The values as a long table."""
        return pl.concat(
            pl.DataFrame({"image": self.index.numpy(), "value": value.double().numpy()}).select(
                *(pl.lit(text).alias(name) for name, text in self._names(measure).items()), "image", "value"
            )
            for measure, value in self.values.items()
        )

    def _names(self, measure: str) -> dict[str, str]:
        return {"kind": self.kind, "part": self.part, "model": self.model, "attribution": self.attribution, "measure": measure}


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one form of the data came to.

    Attributes:
        variant: Its name.
        scored: All values.
        rounds: For each method, what each round came to, with its masks' overlap with the truth where that is known.
        chosen: For each method the number of the round that was taken, from 0.
        baseline: The baseline.
        tuned: The tuned models by method.
        gallery: The images that are drawn, by part.
        shown: Positions of the gallery's images, by part.
        data: The data sets by part.
        counts: How many images DiET was tuned on ("tune") and how many test images' maps were scored ("test").
        unread: Files that could not be read.
    """

    variant: str
    scored: tuple[Scored, ...]
    rounds: Mapping[str, tuple[Mapping[str, Any], ...]]
    chosen: Mapping[str, int]
    baseline: Baseline
    tuned: Mapping[str, Tuned]
    gallery: Mapping[str, Part]
    shown: Mapping[str, tuple[int, ...]]
    data: Mapping[str, Dataset]
    counts: Mapping[str, int]
    unread: tuple[str, ...]
