"""Maps of many images, written to a folder as they come."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import zarr
from torch import Tensor

from assay.core.progress import Progress, silent
from assay.core.registry import short
from assay.data.base import Batch
from assay.errors import DataError, EmptyBatchError, SpecError
from assay.explain.base import Explainer
from assay.models.classifier import Classifier
from assay.report import overlay, robust_limit
from assay.study.labels import match
from assay.study.record import record

__all__ = ["Explained", "explain_batches"]


@dataclass(frozen=True)
class Explained:
    """How an `explain` run ended.

    Attributes:
        explained: Number of images with maps.
        problems: (name, what was wrong) of the others.
    """

    explained: int
    problems: tuple[tuple[str, str], ...]


def explain_batches(
    model: Classifier,
    batches: Iterable[Batch],
    count: int,
    explainers: Sequence[Explainer],
    folder: Path,
    seed: int = 0,
    *,
    form: Literal["npz", "zarr"] = "zarr",
    overlays: bool = True,
    classes: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Explained:
    """Write every image's maps for the predicted classes.

    The folder gets `maps.npz` (an array per explainer, `index` and `targets`) or `maps.zarr` (the same, chunked, written
    batch by batch), `overlays/EXPLAINER/IMAGE.png`, `predictions.csv` and `record.json`; nothing when the run fails or is
    interrupted.

    Args:
        model: The model to explain.
        batches: The images.
        count: How many there are in all, files that cannot be read included.
        explainers: What explains them.
        folder: Where to write; it exists.
        seed: Decides all randomness.
        form: How maps are kept; npz holds them in memory until the end, zarr does not.
        overlays: Whether to draw each map over its image.
        classes: Names of the labels' classes; none when labels are the model's own class numbers.
        data: The data set's name, hash and split, for the record.
        progress: Called as work goes on.

    Raises:
        SpecError: There is no explainer, or one is given twice.
        EmptyBatchError: No image could be read and explained.
        DataError: The folder cannot be written.
    """
    names = [short(one) for one in explainers]
    if not names or len(set(names)) < len(names):
        raise SpecError("give at least one explainer" if not names else f"explainers are given twice in {', '.join(names)}; give each once")
    with _draft(folder) as draft:
        return _explain(model, batches, count, explainers, draft, seed, form, overlays, classes, data or {}, progress)


def _explain(
    model: Classifier,
    batches: Iterable[Batch],
    count: int,
    explainers: Sequence[Explainer],
    folder: Path,
    seed: int,
    form: Literal["npz", "zarr"],
    overlays: bool,
    classes: Sequence[str],
    data: Mapping[str, Any],
    progress: Progress,
) -> Explained:
    sink = _Zarr(folder / "maps.zarr") if form == "zarr" else _Npz(folder / "maps.npz")
    taken: set[str] = set()
    rows: list[dict[str, Any]] = []
    problems: list[tuple[str, str]] = []
    seen = 0
    for batch in batches:
        problems += [(error.name, error.message) for error in batch.errors]
        seen += len(batch.errors)
        if not len(batch):
            progress("explain", seen * len(explainers), count * len(explainers))
            continue
        images, index = batch.images.to(model.device), batch.index.to(model.device)
        logits = model.unchecked_logits(images)
        targets = logits.argmax(1)
        good = logits.isfinite().all(1)
        wrong = dict.fromkeys((~good).nonzero().flatten().tolist(), "the model's output is NaN or infinite")
        found = {}
        for place, explainer in enumerate(explainers):
            progress("explain", seen * len(explainers) + place * len(batch), count * len(explainers))
            name = short(explainer)
            found[name] = explainer.attribute(model, images, targets, index, seed)
            fine = found[name].flatten(1).isfinite().all(1)
            wrong = dict.fromkeys((~fine).nonzero().flatten().tolist(), f"NaN or infinity in the map of {name}") | wrong
            good &= fine
        keep = good.nonzero().flatten().cpu()
        problems += [(batch.names[at], text) for at, text in sorted(wrong.items())]
        maps = {name: one.cpu()[keep] for name, one in found.items()}
        if len(keep):
            sink.add(maps, batch.index[keep], targets.cpu()[keep])
        probabilities = logits.softmax(1).amax(1)
        labels = match(classes, model.classes)
        for at in keep.tolist():
            predicted = int(targets[at])
            label = None if batch.labels is None else int(batch.labels[at])
            rows.append(
                {
                    "image": int(batch.index[at]),
                    "name": batch.names[at],
                    "predicted": labels.names[predicted],
                    "probability": float(probabilities[at]),
                    "label": labels.name_of(label) if label is None or label >= len(classes) else classes[label],
                }
            )
        if overlays:
            _draw(folder / "overlays", batch, keep, maps, taken)
        seen += len(batch)
        progress("explain", seen * len(explainers), count * len(explainers))
    if not rows:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise EmptyBatchError("no image could be explained: " + "; ".join(f"{name}: {message}" for name, message in problems[:3]) + more)
    sink.close()
    pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / "predictions.csv")
    answers = record(model, explainers, (), data, [row["image"] for row in rows], seed, {"targets": "predicted", "maps": form})
    (folder / "record.json").write_text(json.dumps(answers, indent=2) + "\n")
    return Explained(len(rows), tuple(problems))


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A hidden folder whose content moves into `folder` when the block ends well, and is gone otherwise."""
    draft = folder / f".{os.getpid()}.part"
    try:
        draft.mkdir(parents=True)
        yield draft
        for made in sorted(draft.iterdir()):
            made.replace(folder / made.name)
    except OSError as error:
        raise DataError(f"cannot write the maps to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


class _Npz:
    """Keeps maps in memory and writes one compressed file at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, list[np.ndarray]] = {}

    def add(self, maps: Mapping[str, Tensor], index: Tensor, targets: Tensor) -> None:
        for name, values in {**maps, "index": index, "targets": targets}.items():
            self.parts.setdefault(name, []).append(values.numpy())

    def close(self) -> None:
        np.savez_compressed(self.path, **{name: np.concatenate(parts) for name, parts in self.parts.items()})  # type: ignore[arg-type]


class _Zarr:
    """Appends maps to chunked, compressed arrays."""

    def __init__(self, path: Path) -> None:
        self.group = zarr.open_group(str(path), mode="w")

    def add(self, maps: Mapping[str, Tensor], index: Tensor, targets: Tensor) -> None:
        for name, values in {**maps, "index": index, "targets": targets}.items():
            array = values.numpy()
            if name not in self.group:
                rows = max(1, min(len(array), (1 << 22) // max(1, math.prod(array.shape[1:]) * array.itemsize)))
                self.group.create_array(name, shape=(0, *array.shape[1:]), chunks=(rows, *array.shape[1:]), dtype=array.dtype)
            self.group[name].append(array)  # type: ignore[union-attr]

    def close(self) -> None:
        """Nothing is left to write."""


def _draw(folder: Path, batch: Batch, keep: Tensor, maps: Mapping[str, Tensor], taken: set[str]) -> None:
    files = [_free(_file_name(batch.names[at]), int(batch.index[at]), taken) for at in keep.tolist()]
    for name, values in maps.items():
        home = folder / _file_name(name)
        home.mkdir(parents=True, exist_ok=True)
        for place, at in enumerate(keep.tolist()):
            truth = None if batch.truth is None else batch.truth[at]
            picture = overlay(batch.images[at], values[place], robust_limit(values[place]), truth)
            picture.save(home / f"{files[place]}.png")


def _free(name: str, number: int, taken: set[str]) -> str:
    """`name`, with the image's number where another image has it already, upper and lower case being the same to some systems."""
    found = name if name.lower() not in taken else f"{name}_{number}"
    while found.lower() in taken:
        found += "_"
    taken.add(found.lower())
    return found


def _file_name(text: str) -> str:
    """A name that every file system takes, still readable."""
    return re.sub(r"[^\w.()=,+-]+", "_", text).strip("_.") or "image"
