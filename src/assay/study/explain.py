"""Maps of many images in a run folder: arrays, overlays and what the model predicts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from torch import Tensor

from assay.core.progress import Progress, silent
from assay.core.registry import short
from assay.data.base import Batch
from assay.errors import EmptyBatchError, SpecError
from assay.explain.base import Explainer
from assay.models.classifier import Classifier
from assay.models.targets import Decision
from assay.report import overlay, robust_limit
from assay.study.findings import Tally, few, tally
from assay.study.labels import match
from assay.study.npz import write_npz
from assay.study.record import record
from assay.study.run import Run
from assay.study.source import Source, placed
from assay.study.targeting import PREDICTED, Targeting
from assay.study.work import OK, lines_of, lines_of_unread, status_table

__all__ = ["Explained", "Explaining", "explain_run"]

Form = Literal["npz", "zarr"]

_PREDICTIONS, _STATUS, _NPZ = "predictions.csv", "status.csv", "maps.npz"
_LONGEST = 120
_PREDICTED = {"image": pl.Int64, "name": pl.String, "predicted": pl.String, "probability": pl.Float64, "label": pl.String}


@dataclass(frozen=True)
class Explained:
    """How an `explain` run ended.

    Attributes:
        explained: Number of images with maps.
        problems: (name, what was wrong) of the others, the first thousand.
        troubled: How many others there are.
    """

    explained: int
    problems: tuple[tuple[str, str], ...]
    troubled: int


@dataclass(frozen=True, eq=False)
class Explaining:
    """The plan of an `explain` run.

    Args:
        model: The model to explain.
        explainers: What explains it.
        seed: Decides all randomness.
        form: Whether the maps are written as one npz file too when all are there.
        overlays: Whether to draw each map over its image.
        classes: Names of the labels' classes; none when labels are the model's own class numbers.
        targets: What is explained of each image.

    Raises:
        SpecError: There is no explainer, or one is given twice.
    """

    model: Classifier
    explainers: Sequence[Explainer]
    seed: int = 0
    form: Form = "zarr"
    overlays: bool = True
    classes: Sequence[str] = ()
    targets: Targeting = PREDICTED

    def __post_init__(self) -> None:
        names = [short(one) for one in self.explainers]
        if not names:
            raise SpecError("give at least one explainer")
        if len(set(names)) < len(names):
            raise SpecError(f"explainers are given twice in {', '.join(names)}; give each once")

    def record(self, data: Mapping[str, Any], indices: Sequence[int]) -> dict[str, Any]:
        """The seven reproducibility answers, of images with those numbers in those data."""
        return record(self.model, self.explainers, (), data, indices, self.seed, {"targets": self.targets.name, "maps": self.form})


def explain_run(run: Run, plan: Explaining, source: Source, progress: Progress = silent) -> Explained | None:
    """Write every image's maps, what is left of them, and the results when all is done.

    The folder gets `maps.zarr` (an array per explainer, `index` and `targets`, the explained classes: a row per image; NaN and -1 where
    there is no map),
    `overlays/EXPLAINER/IMAGE.png`, `predictions.csv`, `status.csv`, and `maps.npz` when asked for (rows of explained images only).

    Args:
        run: The run folder.
        plan: What to do.
        source: The images.
        progress: Called as work goes on.

    Returns:
        The outcome in the first process, None in the others.

    Raises:
        EmptyBatchError: No image could be read and explained.
        DataError: The disk is full or the folder cannot be written.
    """
    with run.ranks.together():
        _explain_share(run, plan, source, progress)
    with run.ranks.together():
        if not run.ranks.first:
            return None
        counted = tally(run)
        if not counted.sound:
            raise EmptyBatchError(f"no image could be explained: {few(counted)}")
        if not run.over:
            _finish(run, plan, counted)
        return Explained(counted.sound, tuple(counted.problems), counted.troubled)


def _explain_share(run: Run, plan: Explaining, source: Source, progress: Progress) -> None:
    """This process's part of what is left."""
    share = run.share()
    total = sum(len(run.blocks.rows(block)) for block in share)
    done = 0
    for block, batch in zip(share, source.read(map(run.blocks.rows, share)), strict=True):
        rows = run.blocks.rows(block)
        run.write(block, *_explain(plan, source, rows, batch, lambda images, done=done: progress("explain", done + images, total)))  # type: ignore[misc]
        done += len(rows)
        progress("explain", done, total)


def _finish(run: Run, plan: Explaining, counted: Tally) -> None:
    run.merge("predictions", _PREDICTIONS)
    run.merge("status", _STATUS)
    made = [_PREDICTIONS, _STATUS]
    if plan.form == "npz":
        with run.writing():
            write_npz(run.folder, _NPZ, run.blocks, counted.sound)
        made.append(_NPZ)
    run.finish(made)


def _explain(
    plan: Explaining, source: Source, rows: range, batch: Batch, tell: Callable[[int], None]
) -> tuple[dict[str, pl.DataFrame], dict[str, np.ndarray], dict[str, bytes]]:
    """Tables, arrays and files of one block."""
    at, unread = placed(source, rows, batch)
    lines = lines_of_unread(unread)
    arrays = {"index": np.array([int(source.indices[row]) for row in rows]), "targets": np.full(len(rows), -1)}
    tables: dict[str, pl.DataFrame] = {}
    files: dict[str, bytes] = {}
    if at:
        images, index = batch.images.to(plan.model.device), batch.index.to(plan.model.device)
        logits = plan.model.unchecked_logits(images)
        targets = plan.targets.of(plan.model, logits, batch, at)
        decision = plan.model.decide(logits, targets)
        maps = {}
        for place, explainer in enumerate(plan.explainers):
            tell(place * len(batch) // len(plan.explainers))
            maps[short(explainer)] = explainer.attribute(plan.model, images, targets, index, plan.seed).cpu()
        told = lines_of(batch, decision, maps)
        lines |= zip(at, told, strict=True)
        keep = [place for place, (_, state, _, _) in enumerate(told) if state == OK]
        held = np.array([at[place] - rows.start for place in keep], int)
        arrays["targets"][held] = decision.ids.cpu().numpy()[keep]
        for name, values in maps.items():
            arrays[name] = np.full((len(rows), *values.shape[1:]), np.nan, np.float32)
            arrays[name][held] = values.numpy()[keep]
        tables["predictions"] = _predictions(plan, batch, keep, decision)
        files = _overlays(batch, keep, maps) if plan.overlays else {}
    tables["status"] = status_table(source, rows, lines)
    return tables, arrays, files


def _predictions(plan: Explaining, batch: Batch, keep: Sequence[int], decision: Decision) -> pl.DataFrame:
    labels = match(plan.classes, plan.model.classes)
    predicted, probability = labels.told(decision, decision.chosen)
    rows = []
    for at in keep:
        label = None if batch.labels is None else int(batch.labels[at])
        named = labels.name_of(label) if label is None or label >= len(plan.classes) else plan.classes[label]
        rows.append((int(batch.index[at]), batch.names[at], predicted[at], probability[at], named))
    return pl.DataFrame(rows, schema=_PREDICTED, orient="row")


def _overlays(batch: Batch, keep: Sequence[int], maps: Mapping[str, Tensor]) -> dict[str, bytes]:
    """PNG files by path; the image's number is in the name, since names alone may fall together."""
    files = {}
    for name, values in maps.items():
        for at in keep:
            truth = None if batch.truth is None else batch.truth[at]
            held = io.BytesIO()
            overlay(batch.images[at], values[at], robust_limit(values[at]), truth).save(held, "PNG")
            files[f"overlays/{_file_name(name)}/{int(batch.index[at]):06d}_{_file_name(batch.names[at])}.png"] = held.getvalue()
    return files


def _file_name(text: str) -> str:
    """A name that every file system takes, still readable."""
    return re.sub(r"[^\w.()=,+-]+", "_", text).strip("_.")[:_LONGEST] or "image"
