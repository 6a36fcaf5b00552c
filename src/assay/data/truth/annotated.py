"""Labels from a table, masks from a folder, boxes from a COCO file, laid over any images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from assay.core.files import expanded
from assay.core.progress import Progress
from assay.core.registry import nearest, register
from assay.data.base import Dataset, Item
from assay.data.files.decode import decode
from assay.data.files.encoded import Encoded
from assay.data.files.reading import Reading
from assay.data.files.store import FILES
from assay.data.over import OverDataset
from assay.errors import DataError, SpecError

__all__ = ["Annotated"]

_READERS = {".csv": pl.read_csv, ".tsv": lambda path: pl.read_csv(path, separator="\t"), ".parquet": pl.read_parquet}
_SHOWN = 3
_COLUMN = "column:"


@register
class Annotated(OverDataset):
    """Images with labels, masks of the evidence, or boxes around it, that lie beside them.

    Args:
        dataset: The images.
        labels: `file.csv:path:label`, a CSV, TSV or Parquet file with its columns of images' names and of labels.
        masks: A folder with a picture for each image, of the same name but for the ending, white where the evidence lies; or
            `column:NAME`, a column of such pictures in the images' own Parquet file or data set of `datasets`. Images without one, and
            empty ones, have no truth. A mask whose values are only 0 and 1 is white where it is 1.
        boxes: A COCO file, whose boxes are the evidence.

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

    def __post_init__(self) -> None:
        if self.labels is self.masks is self.boxes is None:
            raise SpecError("Annotated: give labels=, masks= or boxes=")
        if self.masks is not None and self.boxes is not None:
            raise SpecError("Annotated: masks and boxes both say where the evidence lies; give one of them")
        if not isinstance(self.dataset, Encoded):
            raise SpecError(f"Annotated: {self.dataset.name} brings its own labels and masks; annotate a folder, tar or Parquet files")
        _ = self._table, self._column, self._files, self._boxes  # Complain now rather than later.

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the table's labels, sorted, numbers by their values; those of the images where there is no table."""
        return self.dataset.classes if self._table is None else self._table.classes

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
        for path in (self.labels and _parts(self.labels)[0], self.boxes, *map(str, self._files.values())):
            if path:
                whole.update(f"{Path(path).name}".encode() + hashlib.sha256(expanded(path).read_bytes()).digest())
        if self._column is not None:
            for index in range(len(self)):
                whole.update(hashlib.sha256(self._mask_file(index) or b"").digest())
        return whole.hexdigest()

    @cached_property
    def _names(self) -> list[str]:
        own: Any = self.dataset
        return [own.title(index) for index in range(len(own))]

    @cached_property
    def _table(self) -> _Labels | None:
        if self.labels is None:
            return None
        path, image, label = _parts(self.labels)
        reader = _READERS.get(Path(path).suffix.lower())
        if reader is None:
            raise DataError(f"labels come from a .csv, .tsv or .parquet file, not {path}")
        try:
            table = reader(expanded(path))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"cannot read the labels of {path}: {next(iter(str(error).splitlines()), error)}") from error
        for column in (image, label):
            if column not in table.columns:
                raise DataError(f"{path} has no column {column!r}{nearest(column, table.columns)} (it has {', '.join(table.columns)})")
        rows = table.select(image, label).drop_nulls()
        given = dict(zip(map(str, rows[image].to_list()), map(_text, rows[label].to_list()), strict=True))
        if len(given) < len(rows):
            raise DataError(f"{path} names an image more than once in {image!r}")
        matched = _match(self._names, given, path)
        values = sorted(set(matched.values()), key=lambda one: (not one.isdecimal(), int(one) if one.isdecimal() else 0, one))
        if all(one.isdecimal() for one in values):
            # Class numbers as they stand, as those of other files.
            return _Labels(tuple(map(str, range(int(values[-1]) + 1))), {at: int(one) for at, one in matched.items()})
        return _Labels(tuple(values), {at: values.index(one) for at, one in matched.items()})

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
        return _match(self._names, found, self.masks)

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
        return _match(self._names, held, self.boxes)

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


@dataclass(frozen=True)
class _Labels:
    """Class names, and the class number of each image that has one."""

    classes: tuple[str, ...]
    numbers: Mapping[int, int]


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


def _parts(text: str) -> tuple[str, str, str]:
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not all(parts):
        raise DataError(f"say where labels are as file.csv:path:label, the file and its columns of images and of labels, not {text!r}")
    return parts[0], parts[1], parts[2]


def _text(value: Any) -> str:
    """A label as text; whole numbers without their decimals."""
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def _match(names: Iterable[str], given: Mapping[str, Any], where: str) -> dict[int, Any]:
    """What is given for each image, by its place: by whole names, else by file names, else by these without their endings.

    Raises:
        DataError: No name agrees, or two images or two entries share one.
    """
    names = list(names)
    kinds = (str, lambda one: PurePosixPath(one).name, lambda one: PurePosixPath(one).name.partition(".")[0])
    for kind in kinds:
        own, other = [kind(one) for one in names], {kind(one): value for one, value in given.items()}
        found = {at: other[one] for at, one in enumerate(own) if one in other}
        if not found:
            continue
        if len(set(own)) < len(own) or len(other) < len(given):
            raise DataError(f"{where}: several images or entries have the same name without folder or ending; write whole paths there")
        return found
    raise DataError(
        f"{where} names none of the images: it has {', '.join(list(given)[:_SHOWN]) or 'nothing'}, "
        f"the images are {', '.join(names[:_SHOWN])}"
    )
