"""Maps of many images, written to a folder as they come."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import zarr
from torch import Tensor

from assay.core.files import replacing
from assay.core.progress import Progress, silent
from assay.core.registry import short
from assay.data.base import Batch
from assay.errors import EmptyBatchError
from assay.explain.base import Explainer
from assay.models.classifier import Classifier
from assay.report import overlay, robust_limit
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
    data: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Explained:
    """Write every image's maps for the predicted classes.

    The folder gets `maps.npz` (an array per explainer, `index` and `targets`) or `maps.zarr` (the same, chunked, written
    batch by batch), `overlays/EXPLAINER/IMAGE.png`, `predictions.csv` and `record.json`.

    Args:
        model: The model to explain.
        batches: The images.
        count: How many there are in all, files that cannot be read included.
        explainers: What explains them.
        folder: Where to write; it exists.
        seed: Decides all randomness.
        form: How maps are kept; npz holds them in memory until the end, zarr does not.
        overlays: Whether to draw each map over its image.
        data: The data set's name, hash and split, for the record.
        progress: Called as work goes on.
    """
    sink = _Zarr(folder / "maps.zarr") if form == "zarr" else _Npz(folder / "maps.npz")
    rows: list[dict[str, Any]] = []
    problems: list[tuple[str, str]] = []
    seen = 0
    for batch in batches:
        problems += [(error.name, error.message) for error in batch.errors]
        seen += len(batch.errors)
        if not len(batch):
            continue
        images, index = batch.images.to(model.device), batch.index.to(model.device)
        logits = model.unchecked_logits(images)
        targets = logits.argmax(1)
        good = logits.isfinite().all(1)
        found = {}
        for place, explainer in enumerate(explainers):
            progress("explain", seen * len(explainers) + place * len(batch), count * len(explainers))
            found[short(explainer)] = explainer.attribute(model, images, targets, index, seed)
            good &= found[short(explainer)].flatten(1).isfinite().all(1)
        keep = good.nonzero().flatten().cpu()
        problems += [(batch.names[at], "the model's output or a map is NaN or infinite") for at in (~good).nonzero().flatten().tolist()]
        maps = {name: one.cpu()[keep] for name, one in found.items()}
        sink.add(maps, batch.index[keep], targets.cpu()[keep])
        probabilities = logits.softmax(1).amax(1)
        for at in keep.tolist():
            predicted = int(targets[at])
            label = None if batch.labels is None else int(batch.labels[at])
            rows.append(
                {
                    "image": int(batch.index[at]),
                    "name": batch.names[at],
                    "predicted": model.classes[predicted],
                    "probability": float(probabilities[at]),
                    "label": label,
                }
            )
        if overlays:
            _draw(folder / "overlays", batch, keep, maps)
        seen += len(batch)
        progress("explain", seen * len(explainers), count * len(explainers))
    if not rows:
        raise EmptyBatchError("no image could be explained: " + "; ".join(f"{name}: {message}" for name, message in problems[:3]))
    sink.close()
    with replacing(folder / "predictions.csv") as draft:
        pl.DataFrame(rows, infer_schema_length=None).write_csv(draft)
    answers = record(model, explainers, (), data or {}, [row["image"] for row in rows], seed, {"targets": "predicted", "maps": form})
    with replacing(folder / "record.json") as draft:
        draft.write_text(json.dumps(answers, indent=2) + "\n")
    return Explained(len(rows), tuple(problems))


class _Npz:
    """Keeps maps in memory and writes one compressed file at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, list[np.ndarray]] = {}

    def add(self, maps: Mapping[str, Tensor], index: Tensor, targets: Tensor) -> None:
        for name, values in {**maps, "index": index, "targets": targets}.items():
            self.parts.setdefault(name, []).append(values.numpy())

    def close(self) -> None:
        with replacing(self.path) as draft:
            np.savez_compressed(draft, **{name: np.concatenate(parts) for name, parts in self.parts.items()})  # type: ignore[arg-type]


class _Zarr:
    """Appends maps to chunked, compressed arrays that can be read while the run goes on."""

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


def _draw(folder: Path, batch: Batch, keep: Tensor, maps: Mapping[str, Tensor]) -> None:
    for name, values in maps.items():
        home = folder / _file_name(name)
        home.mkdir(parents=True, exist_ok=True)
        for place, at in enumerate(keep.tolist()):
            truth = None if batch.truth is None else batch.truth[at]
            picture = overlay(batch.images[at], values[place], robust_limit(values[place]), truth)
            picture.save(home / f"{_file_name(batch.names[at])}.png")


def _file_name(text: str) -> str:
    """A name that every file system takes, still readable."""
    return re.sub(r"[^\w.()=,+-]+", "_", text).strip("_.") or "image"
