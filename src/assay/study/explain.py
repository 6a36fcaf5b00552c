"""Maps of many images: arrays, overlays and what the model predicts."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import polars as pl
from torch import Tensor

from assay.core.registry import short
from assay.data.base import Batch
from assay.explain.base import Explainer, check_serves
from assay.models.labels import match
from assay.report import overlay, robust_limit
from assay.report.figures.plots import to_bytes
from assay.report.figures.show import show
from assay.report.text import percent, plural
from assay.run.arrays import Keeping, as_kept, check_keeping, write_npz
from assay.study.study import Asked, Block, Done, Kept, Report, Study, Tell, check_distinct

__all__ = ["ExplainStudy", "Explained"]

_LONGEST = 120
_LISTED = 20
_ON_SHEET = 12
_SHEETS: tuple[Literal["png", "pdf"], ...] = ("png", "pdf")
_PREDICTED = {"image": pl.Int64, "name": pl.String, "predicted": pl.String, "probability": pl.Float64, "label": pl.String}


@dataclass(frozen=True)
class Explained:
    """How many images have maps, and (name, what was wrong) of the first thousand of the others."""

    explained: int
    problems: tuple[tuple[str, str], ...]
    troubled: int


@dataclass(frozen=True)
class ExplainStudy(Study):
    """Explain images: maps, overlays as PNG, and what the model predicts as CSV, in a run folder that can be resumed.

    Attributes:
        explainer: Such as "SmoothGrad(sigma=0.05)"; may be given several times.
        maps: How maps are kept: a zarr folder of chunks alone, or one compressed npz file too.
        overlays: Draw each map over its image, as PNG, and the first twelve images with all their maps on one sheet, as PNG and PDF.
        keep_maps: How exactly maps are kept: whole, or rounded to 11 bits, which takes half to two thirds of the room and reads as before.
        keep_top: Share of each map's pixels, the largest, that is kept, the others becoming 0; all by default.
    """

    explainer: tuple[Explainer, ...]
    maps: Literal["npz", "zarr"] = "npz"
    overlays: bool = True
    keep_maps: Keeping = "whole"
    keep_top: float | None = None

    command: ClassVar[str] = "explain"
    keeps_arrays: ClassVar[bool] = True

    def check(self, asked: Asked) -> None:
        """See `Study.check`.

        Raises:
            SpecError: There is no explainer, or one is given twice, or `keep_top` is no share.
            ModelError: The model has not what one of them needs.
        """
        check_distinct(self.explainer)
        check_keeping(self.keep_top)
        for one in self.explainer:
            check_serves(asked.model, one)

    def tried(self, asked: Asked) -> Sequence[Explainer] | None:
        """See `Study.tried`."""
        return self.explainer

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`; `maps.zarr` has an array per explainer, `index` and `targets`, a row per image."""
        maps, case = {}, block.case
        for place, explainer in enumerate(self.explainer):
            tell(place * len(block.batch) // len(self.explainer))
            maps[short(explainer)] = explainer.attribute(case.model, case.images, case.targets, case.index, case.seed).cpu()
        keep = block.fine(maps)
        arrays = {"targets": block.spread(block.decision.ids.cpu().numpy()[keep], keep)}
        arrays |= {name: block.spread(as_kept(values.numpy()[keep], self.keep_maps, self.keep_top), keep) for name, values in maps.items()}
        files = _overlays(block.batch, keep, maps) if self.overlays else {}
        if self.overlays and keep and block.rows.start == 0:
            files |= _sheet(asked, block, keep[:_ON_SHEET], maps)
        rounded = frozenset(maps if self.keep_maps == "rounded" else ())
        return Kept({"predictions": _predictions(asked, block, keep)}, maps, arrays, files, rounded)

    def conclude(self, asked: Asked, done: Done) -> Report:
        """`predictions.csv`, `status.csv` and, when asked for, `maps.npz` (rows of explained images only)."""
        done.require_sound("explained")
        counted, blocks, folder = done.tally, done.blocks, done.folder
        assert folder is not None
        said = [f"left out: {name}: {message}" for name, message in counted.problems[:_LISTED]]
        if counted.troubled > _LISTED:
            said.append(f"and {counted.troubled - _LISTED} more, listed in status.csv")
        return Report(
            found=lambda: Explained(counted.sound, tuple(counted.problems), counted.troubled),
            merged={"predictions.csv": "predictions", "status.csv": "status"},
            streams={"maps.npz": lambda draft: write_npz(folder, draft, blocks, counted.sound)} if self.maps == "npz" else {},
            said=(f"{counted.sound} images explained by {plural(len(self.explainer), 'explainer')}", *said),
            main=("maps, predictions.csv and environment.json", ""),
        )

    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""
        return asked.record(self.explainer, (), {"maps": self.maps, "keep_maps": self.keep_maps, "keep_top": self.keep_top})


def _predictions(asked: Asked, block: Block, keep: Sequence[int]) -> pl.DataFrame:
    batch = block.batch
    labels = match(asked.classes, asked.model.classes)
    predicted, probability = labels.told(block.decision, block.decision.chosen)
    rows = []
    for at in keep:
        own = batch.label_of(at)
        named = "; ".join(asked.classes[one] if one < len(asked.classes) else labels.name_of(one) for one in own)
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


def _sheet(asked: Asked, block: Block, places: Sequence[int], maps: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Images with what they are taken for, beside their maps by every explainer on one scale each: as PNG, and as PDF for papers."""
    rows = _predictions(asked, block, places)
    names = [
        f"{row['name']}\n{row['predicted']} ({percent(row['probability'])})" + (f"\nlabelled {row['label']}" if row["label"] else "")
        for row in rows.iter_rows(named=True)
    ]
    at = list(places)
    images = block.batch.images[at].cpu().clamp(0, 1)
    shown = {name: values[at] for name, values in maps.items()}
    return {f"sheet.{form}": to_bytes(lambda: show(images, shown, names), form) for form in _SHEETS}


def _file_name(text: str) -> str:
    """A name that every file system takes, still readable."""
    return re.sub(r"[^\w.()=,+-]+", "_", text).strip("_.")[:_LONGEST] or "image"
