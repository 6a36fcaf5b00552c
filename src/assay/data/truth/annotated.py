"""Labels from a table, masks from a folder, boxes from a COCO file, laid over any images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.core.progress import Progress
from assay.core.registry import nearest, register
from assay.core.whole_files import expanded
from assay.data.base import Dataset, Item
from assay.data.files.decode import decode
from assay.data.files.encoded import Encoded
from assay.data.files.reading import Reading
from assay.data.files.store import FILES
from assay.data.over import OverDataset
from assay.data.truth.label_table import LabelTable, labels_of, match_names, table_file
from assay.errors import DataError, SpecError

__all__ = ["Annotated"]

_COLUMN = "column:"


@register
class Annotated(OverDataset):
    """Images with labels, masks of the evidence, or boxes around it, that lie beside them.

    Args:
        dataset: The images.
        labels: `file.csv:path:label`, a CSV, TSV or Parquet file with its columns of images' names and of labels; cells of several
            labels, or several columns (`file.csv:path:a,b,c`), are findings that do not exclude each other: see `labels_of`.
        masks: A folder with a picture for each image, of the same name but for the ending, white where the evidence lies; or
            `column:NAME`, a column of such pictures in the images' own Parquet file or data set of `datasets`. Images without one, and
            empty ones, have no truth. A mask whose values are only 0 and 1 is white where it is 1.
        boxes: A COCO file, whose boxes are the evidence.
        separator: What divides several labels in a cell; None for ; or |, whichever is there.

    Names agree as whole paths below the folder of images, else as file names, else as these without their endings. Masks and boxes
    are resized and cropped as the images are.

    Raises:
        DataError: A file is missing or of another form, or names nothing of the images.
        SpecError: There is nothing to add, or masks and boxes are both given, or the images are not files.
    """

    dataset: Dataset
    labels: str | None = None
    masks: str | None = None
    boxes: str | None = None
    separator: str | None = None

    def __post_init__(self) -> None:
        if self.labels is self.masks is self.boxes is None:
            raise SpecError("Annotated: give labels=, masks= or boxes=")
        if self.masks is not None and self.boxes is not None:
            raise SpecError("Annotated: masks and boxes both say where the evidence lies; give one of them")
        if self.separator is not None and (self.labels is None or not self.separator):
            raise SpecError("Annotated: separator divides the labels in a cell of labels=; give both, or leave separator out")
        if not isinstance(self.dataset, Encoded):
            raise SpecError(f"Annotated: {self.dataset.name} brings its own labels and masks; annotate a folder, tar or Parquet files")
        _ = self._table, self._column, self._files, self._boxes  # Complain now rather than later.

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the table's labels, sorted, numbers by their values; those of the images where there is no table."""
        return self.dataset.classes if self._table is None else self._table.classes

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.dataset.several if self._table is None else self._table.several

    @property
    def has_truth(self) -> bool:
        """Whether there are masks or boxes."""
        return self.masks is not None or self.boxes is not None

    def __getitem__(self, index: int) -> Item:
        item = self.dataset[self.check_index(index)]
        if self._table is not None:
            found = self._table.numbers.get(index)
            item = replace(item, label=found)
        return replace(item, truth=self._truth(item)) if self.has_truth else item

    def hashed(self, progress: Progress) -> str:
        """`content_hash`; tells how far the images' own has come."""
        whole = hashlib.sha256(self.dataset.hashed(progress).encode())
        for path in (self.labels and table_file(self.labels), self.boxes, *map(str, self._files.values())):
            if path:
                whole.update(f"{Path(path).name}".encode() + hashlib.sha256(expanded(path).read_bytes()).digest())
        if self._table is not None:
            whole.update(f"{self._table.classes} {sorted(self._table.numbers.items())}".encode())
        if self._column is not None:
            for index in range(len(self)):
                whole.update(hashlib.sha256(self._mask_file(index) or b"").digest())
        return whole.hexdigest()

    @cached_property
    def _names(self) -> list[str]:
        own: Any = self.dataset
        return [own.title(index) for index in range(len(own))]

    @cached_property
    def _table(self) -> LabelTable | None:
        return None if self.labels is None else labels_of(self.labels, self._names, self.separator)

    @cached_property
    def _column(self) -> str | None:
        """The column of masks, where they are in one."""
        if self.masks is None or not self.masks.startswith(_COLUMN):
            return None
        own, name = self.dataset, self.masks.removeprefix(_COLUMN)
        assert isinstance(own, Encoded)
        if name not in own.columns:
            raise DataError(
                f"{own.path} has no column of masks called {name!r}{nearest(name, own.columns)} "
                f"(it could be {', '.join(own.columns) or 'none: Parquet files and data sets of datasets have columns'})"
            )
        return name

    @cached_property
    def _files(self) -> Mapping[int, Path]:
        """The mask's file of each image that has one."""
        if self.masks is None or self._column is not None:
            return {}
        root = expanded(self.masks)
        if not root.is_dir():
            raise DataError(f"there is no folder of masks {self.masks}")
        found = {str(one.relative_to(root)): one for one in sorted(root.rglob("*")) if one.suffix.lower() in FILES}
        return match_names(self._names, found, self.masks)

    @cached_property
    def _boxes(self) -> Mapping[int, tuple[tuple[int, int], list[list[float]]]]:
        """Size (height, width) and boxes (left, top, width, height) of each image that is named."""
        if self.boxes is None:
            return {}
        try:
            told = json.loads(expanded(self.boxes).read_text())
            images = {one["id"]: one for one in told["images"]}
            held: dict[str, tuple[tuple[int, int], list[list[float]]]] = {
                one["file_name"]: ((int(one["height"]), int(one["width"])), []) for one in images.values()
            }
            for one in told["annotations"]:
                held[images[one["image_id"]]["file_name"]][1].append([float(number) for number in one["bbox"]])
        except OSError as error:
            raise DataError(f"cannot read the boxes of {self.boxes}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataError(f"{self.boxes} is no COCO file with images, annotations and bbox: {type(error).__name__} {error}") from error
        return match_names(self._names, held, self.boxes)

    def _truth(self, item: Item) -> Tensor:
        own: Any = self.dataset
        method = "nearest" if own.size is None else own.reading.interpolation
        plain = replace(own.reading, interpolation=method, channels=1, range=None, window=None)
        file = self._mask_file(item.index)
        if file is not None:
            mask = _mask(file, item.name, own.size, plain)
        elif item.index in self._boxes:
            (height, width), boxes = self._boxes[item.index]
            drawn = np.zeros((1, height, width), np.float32)
            for left, top, wide, high in boxes:
                drawn[:, max(0, round(top)) : round(top + high), max(0, round(left)) : round(left + wide)] = 1
            mask = _decoded(drawn, own.size, plain)
        else:
            mask = torch.zeros(1, *item.image.shape[1:])
        if mask.shape[1:] != item.image.shape[1:]:
            raise DataError(f"the mask of {item.name} is {tuple(mask.shape[1:])} where the image is {tuple(item.image.shape[1:])}")
        return mask > 0.5

    def _mask_file(self, index: int) -> bytes | None:
        if self._column is not None:
            own: Any = self.dataset
            found: bytes | None = own.beside(self._column, index)
            return found
        path = self._files.get(index)
        return None if path is None else path.read_bytes()


def _mask(file: bytes, name: str, size: int | None, reading: Reading) -> Tensor:
    """A mask's picture as the images are prepared; white by its own values where they are only 0 and 1.

    Raises:
        DataError: Nothing of it is white, though something is not black.
    """
    found = decode(file, f"the mask of {name}", size, reading)
    if (found > 0.5).any():
        return found
    brightest = round(float(decode(file, f"the mask of {name}", None, Reading(channels=1)).max()) * 255)
    if brightest == 1:
        return decode(file, f"the mask of {name}", size, replace(reading, range=(0, 1)))
    if 0 < brightest < 128:
        raise DataError(
            f"the mask of {name} is grey, {brightest} of 255 at most: the evidence must be white (255), or 1 where all else is 0"
        )
    return found


def _decoded(drawn: Any, size: int | None, reading: Reading) -> Tensor:
    from io import BytesIO

    file = BytesIO()
    np.save(file, (drawn[0] * 255).astype(np.uint8))
    return decode(file.getvalue(), "boxes", size, reading)
