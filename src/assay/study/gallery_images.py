"""The images that a report shows: chosen by position beforehand, kept as rows of a table, put together at the end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from assay.data.base import Batch, stack_known
from assay.models.labels import Labels
from assay.models.targets import Decision
from assay.report.figures.picture import visible
from assay.report.gallery import Gallery

__all__ = ["GalleryImage", "gallery", "gallery_image", "pack", "places", "unpack"]

_SCHEMA: dict[str, pl.DataType] = {
    "slot": pl.Int64(),
    "name": pl.String(),
    "label": pl.List(pl.Int64()),
    "part": pl.String(),
    "shape": pl.List(pl.Int64()),
    "data": pl.Binary(),
}


@dataclass(frozen=True, eq=False)
class GalleryImage:
    """One image of the gallery.

    Attributes:
        name: Its name.
        label: Its labels: one, several, or none.
        image: (1 or 3, H, W).
        probabilities: (K,); () of the value of a model that gives values.
        values: (measures, explainers and floor).
        maps: (C, H, W), one for each explainer.
        doubt: (explainers, H, W) bool, pixels whose value the explainer cannot tell from 0.
        truth: (1, H, W) bool, or None.
        distractor: (1, H, W) bool, or None.
    """

    name: str
    label: tuple[int, ...]
    image: Tensor
    probabilities: Tensor
    values: Tensor
    maps: list[Tensor]
    doubt: Tensor
    truth: Tensor | None
    distractor: Tensor | None


def places(wanted: int, images: int) -> list[int]:
    """The position from which each image of a gallery is looked for: evenly spaced, since data sets come sorted by class."""
    wanted = min(wanted, images)
    return [-(-slot * images // wanted) for slot in range(wanted)]


def gallery_image(batch: Batch, at: int, decision: Decision, maps: list[Tensor], doubt: Tensor, values: Tensor) -> GalleryImage:
    """What the gallery keeps of image `at` of a batch.

    Args:
        batch: The images.
        at: Which.
        decision: What the model decides about the batch.
        maps: (C, H, W) of it, one for each explainer.
        doubt: (explainers, H, W) bool of it.
        values: (measures, explainers and floor) of it.
    """
    return GalleryImage(
        name=batch.names[at],
        label=batch.label_of(at),
        image=visible(batch.images[at]).cpu(),
        probabilities=_probabilities(decision, at).cpu(),
        values=values,
        maps=maps,
        doubt=doubt,
        truth=None if batch.truth is None else batch.truth[at].cpu(),
        distractor=None if batch.distractor is None else batch.distractor[at].cpu(),
    )


def pack(shown: Iterable[tuple[int, GalleryImage]]) -> pl.DataFrame:
    """Images of the gallery with their slots as a table, a row for each tensor; the maps' rows are in the order of the explainers."""
    rows = []
    for slot, one in shown:
        parts = [
            ("image", one.image),
            ("probabilities", one.probabilities),
            ("values", one.values),
            ("doubt", one.doubt),
            *(("map", each) for each in one.maps),
        ]
        parts += [(name, mask) for name, mask in (("truth", one.truth), ("distractor", one.distractor)) if mask is not None]
        for name, tensor in parts:
            data = tensor.float().contiguous().numpy().tobytes()
            rows.append({"slot": slot, "name": one.name, "label": list(one.label), "part": name, "shape": list(tensor.shape), "data": data})
    return pl.DataFrame(rows, schema=_SCHEMA)


def unpack(table: pl.DataFrame) -> list[tuple[int, GalleryImage]]:
    """What `pack` packed."""
    found = []
    for (slot,), rows in table.group_by("slot", maintain_order=True):
        tensors = [(row["part"], _tensor(row["data"], row["shape"])) for row in rows.iter_rows(named=True)]
        parts = dict(tensors)
        truth, distractor = parts.get("truth"), parts.get("distractor")
        one = GalleryImage(
            rows["name"][0],
            tuple(rows["label"][0]),
            parts["image"],
            parts["probabilities"],
            parts["values"],
            [tensor for name, tensor in tensors if name == "map"],
            parts["doubt"].bool(),
            None if truth is None else truth.bool(),
            None if distractor is None else distractor.bool(),
        )
        found.append((int(slot), one))
    return found


def gallery(
    shown: Sequence[GalleryImage], explainers: Sequence[str], measures: Sequence[str], labels: Labels, why: Sequence[str] = ()
) -> Gallery:
    """The report's gallery.

    Args:
        shown: The images, in order.
        explainers: Names of their maps' explainers.
        measures: The measures' names.
        labels: Names of labels and predictions.
        why: Why each is shown.
    """
    told = [_told(one.probabilities, labels) for one in shown]
    return Gallery(
        images=torch.stack([one.image for one in shown]),
        names=tuple(one.name for one in shown),
        labels=tuple(labels.names_of(one.label) for one in shown),
        predictions=tuple(name for name, _ in told),
        probabilities=tuple(probability for _, probability in told),
        maps={name: torch.stack([one.maps[place] for one in shown]) for place, name in enumerate(explainers)},
        doubt={name: torch.stack([one.doubt[place] for one in shown])[:, None] for place, name in enumerate(explainers)},
        truth=stack_known([one.truth for one in shown]),
        distractor=stack_known([one.distractor for one in shown]),
        scores={
            name: {measure: tuple(float(one.values[line, place]) for one in shown) for line, measure in enumerate(measures)}
            for place, name in enumerate(explainers)
        },
        why=tuple(why),
    )


def _probabilities(decision: Decision, at: int) -> Tensor:
    row = decision.head.transform(decision.outputs[at : at + 1], "probability")[0]
    return row if decision.head.decides else row[decision.ids[at]]


def _told(probabilities: Tensor, labels: Labels) -> tuple[str, float]:
    """The prediction's name and probability; a value stands for the name, and has no probability."""
    if not probabilities.ndim:
        return f"{float(probabilities):.4g}", math.nan
    best = int(probabilities.argmax())
    return labels.names[best], float(probabilities[best])


def _tensor(data: bytes, shape: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.float32).copy()).reshape(list(shape))
