"""A contact sheet: what is in a data set, with its labels and its known truth, on one page."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from assay.core.whole_files import replacing
from assay.data.base import Batch, Dataset
from assay.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["contact_sheet", "save_contact_sheet"]

_MASKS = {"truth": ("#00e5ff", "truth: the pixels that decide the label"), "distractor": ("#ff9100", "distractor: visible, but irrelevant")}
# Inches: an image, the gap beside it, its label above it, the margins, the title, the legend.
_CELL, _GAP, _LABEL, _SIDE, _HEAD, _FOOT = 1.5, 0.12, 0.24, 0.15, 0.68, 0.42
_LONG = 24  # Letters above an image.
_LEAST_WIDTH = 5.2  # The legend needs it.


def contact_sheet(dataset: Dataset, batch: Batch) -> Figure:
    """Draw the images of `batch` with labels, and with outlines of truth and distractor where they are known.

    Raises:
        DataError: The batch holds no image.
    """
    # Here, because the import takes a second.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    count = len(batch)
    if not count:
        raise DataError(f"none of the chosen images of {dataset.name} can be read, so there is nothing to show")
    columns = min(count, 6 if count > 8 else 4)
    rows = math.ceil(count / columns)
    masks = {"truth": batch.truth, "distractor": batch.distractor}
    known = [kind for kind, mask in masks.items() if mask is not None]
    foot = _FOOT if known else _SIDE
    width = max(columns * (_CELL + _GAP) - _GAP + 2 * _SIDE, _LEAST_WIDTH)
    height = _HEAD + rows * (_CELL + _LABEL) + foot
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    for number in range(count):
        row, column = divmod(number, columns)
        left, bottom = _SIDE + column * (_CELL + _GAP), height - _HEAD - (row + 1) * (_CELL + _LABEL)
        cell = figure.add_axes((left / width, bottom / height, _CELL / width, _CELL / height))
        cell.set_axis_off()
        _draw(cell, batch, number, dataset.classes)
        for kind in known:
            mask = masks[kind]
            if mask is not None:
                lines = LineCollection(list(_outline(mask[number, 0])), colors=_MASKS[kind][0], linewidths=1.3, capstyle="projecting")
                cell.add_collection(lines)
    side = _SIDE / width
    figure.text(
        side,
        1 - 0.27 / height,
        dataset.name if dataset.split == "all" else f"{dataset.name}, {dataset.split}",
        fontsize=12,
        fontweight="bold",
        va="center",
    )
    figure.text(side, 1 - 0.48 / height, f"{count} of {len(dataset)} images, chosen at random", fontsize=8.5, color="#555555", va="center")
    if known:
        handles = [Line2D([], [], color=_MASKS[kind][0], linewidth=2.5, label=_MASKS[kind][1]) for kind in known]
        figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8.5, bbox_to_anchor=(0.5, 0.0))
    return figure


def save_contact_sheet(dataset: Dataset, batch: Batch, path: Path) -> None:
    """Write the contact sheet as PNG; the file appears whole or not at all.

    Raises:
        DataError: The batch holds no image, or `path` cannot be written.
    """
    page = BytesIO()
    contact_sheet(dataset, batch).savefig(page, format="png", dpi=160)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(page.getvalue())
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def _draw(cell: Axes, batch: Batch, row: int, classes: tuple[str, ...]) -> None:
    image = batch.images[row].expand(3, -1, -1).permute(1, 2, 0).numpy()  # One channel alone would get false colours, stretched.
    cell.imshow(image, interpolation="nearest" if max(image.shape) <= 128 else "antialiased")
    number = f"#{int(batch.index[row])}"
    own = [classes[one] for one in batch.label_of(row) if one < len(classes)]
    label = ", ".join(own) if own else _shorten(batch.names[row])
    label = label if len(label) <= _LONG else f"{label[: _LONG - 1]}…"
    cell.set_title(label, fontsize=9 if len(label) <= 12 else 7.5, loc="left", pad=2.5)
    cell.set_title(number, fontsize=6.5, loc="right", pad=2.5, color="#777777")


def _shorten(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:7]}…{name[-8:]}"


def _outline(mask: Tensor) -> NDArray[np.float64]:
    """(L, 2, 2) line segments between the pixels inside and those outside of `mask` (H, W), in image coordinates."""
    inside = np.pad(mask.numpy(), 1).astype(np.int8)
    row, column = np.nonzero(np.diff(inside, axis=0)[:, 1:-1])
    flat = np.stack([column - 0.5, row - 0.5, column + 0.5, row - 0.5], axis=1)
    row, column = np.nonzero(np.diff(inside, axis=1)[1:-1, :])
    upright = np.stack([column - 0.5, row - 0.5, column - 0.5, row + 0.5], axis=1)
    segments: NDArray[np.float64] = np.concatenate([flat, upright]).reshape(-1, 2, 2)
    return segments
