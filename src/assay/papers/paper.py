"""A paper's experiment as a table of jobs: each is done once, and its price is known before."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from assay.core.progress import Progress
from assay.models.classifier import Classifier

__all__ = ["Job", "Paper", "price", "speed", "value_rows"]

JOBS = "jobs"
"""Folder of the jobs' folders, within the paper's run folder."""


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: Of its folder.
        passes: Passes of one image, forward or backward, that it is expected to take.
        bytes: What it is expected to leave on the disk.
    """

    name: str
    passes: int
    bytes: int = 0


@dataclass
class Paper:
    """The work of a paper's study under way.

    Attributes:
        folder: The study's run folder.
        progress: Told how the work goes on.
        seconds: Of each job, on the start that did it.
    """

    folder: Path
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    def place(self, name: str) -> Path:
        """A job's folder."""
        return self.folder / JOBS / name

    def staged(self, name: str) -> Progress:
        """The progress of a job, told with its name."""
        return lambda stage, done, total: self.progress(f"{name}: {stage}", done, total)


def value_rows(index: Tensor, values: Tensor, labels: Mapping[str, Any]) -> pl.DataFrame:
    """A row for each image: its number, the same labels for all, and its value.

    Args:
        index: (N,) the images' numbers.
        values: (N,).
        labels: What tells these values from others, by column.
    """
    told = (pl.lit(value).alias(name) for name, value in labels.items())
    return pl.DataFrame({"image": index.cpu().numpy(), "value": values.double().cpu().numpy()}).select("image", *told, "value")


def speed(model: Classifier, shape: Sequence[int], images: int = 32) -> float:
    """Passes of one image a second, forward or backward, on this machine; from one step of each after a first that warms up."""
    batch = torch.rand(images, *shape, generator=torch.Generator().manual_seed(0)).to(model.device)

    def step() -> float:
        began = time.perf_counter()
        pixels = batch.clone().requires_grad_()
        with torch.enable_grad():
            model.forward(pixels).sum().backward()
        return time.perf_counter() - began

    step()
    return 2 * images / step()


def price(jobs: Sequence[Job], a_second: float) -> pl.DataFrame:
    """What the jobs will take: job, passes, minutes, MB, and all together in the last row."""
    names = [*(one.name for one in jobs), "all together"]
    passes, sizes = ([*values, sum(values)] for values in ([one.passes for one in jobs], [one.bytes for one in jobs]))
    minutes, sizes_mb = ([value / unit for value in values] for values, unit in ((passes, 60 * a_second), (sizes, 1e6)))
    return pl.DataFrame({"job": names, "passes": passes, "minutes": minutes, "MB": sizes_mb})
