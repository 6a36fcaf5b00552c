"""Images in Parquet files, as Hugging Face keeps its image data sets."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assay.core.progress import Progress
from assay.core.registry import check_at_least, nearest, register
from assay.core.whole_files import contained, expanded
from assay.data.base import CorruptFileError
from assay.data.files.encoded import Encoded
from assay.data.files.reading import AS_IT_IS, Reading
from assay.data.files.shards import digest, find_shards, name_classes
from assay.errors import DataError

__all__ = ["ParquetImages"]

_WINDOW = 256
"""Rows read at once: few enough for memory, enough that a row group is not opened for every image."""
_PATHS = re.compile(r"(?i)(^|_)(image|img|file|filename|path|filepath)(_|$)")
"""Columns of texts that are taken for paths of images."""
_MASKS = re.compile(r"(?i)(^|_)(mask|masks|segmentation)(_|$)")
"""Columns of pictures that are not taken for the images unless they are asked for."""
_BROKEN = (pl.exceptions.PolarsError, OSError)


@dataclass(frozen=True, eq=False)
class _Layout:
    """What one look at the files has found: the columns, rows before each file and in all, labels."""

    image: str
    others: tuple[str, ...]
    label: str | None
    starts: NDArray[np.int64]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]


@register
class ParquetImages(Encoded):
    """Images of one or many Parquet files, in a column of encoded files (structs with `bytes`, or plain binary) or of their paths.

    Paths, in a column of texts or in structs whose `bytes` are missing, are relative to the folder of the Parquet file.

    Rows are found by number, a few hundred at a time, whatever the files' size. Labels are class numbers, named where
    the file says so (Hugging Face's `ClassLabel`), or texts, which are numbered in the order of the alphabet; a number
    below 0 or none at all means that nobody knows. The order is that of the files' names and of their rows.

    Attributes:
        path: A Parquet file, a folder of them, or a pattern such as `data/test-*.parquet`.
        size: Resize the shorter side to this many pixels and cut the centre square; None takes the images as they are.
        image: Column of the images; None for the only one that can be.
        label: Column of the labels; None for `label`, or else the only column of class labels.
        reading: What else is done to each picture; see `Reading`.

    Raises:
        DataError: There are no files, one is damaged, or the columns are not there.
    """

    path: str
    size: int | None = None
    image: str | None = None
    label: str | None = None
    reading: Reading = AS_IT_IS

    def __post_init__(self) -> None:
        check_at_least(self, 1, "size")
        _ = self._layout  # Complain of missing or odd files now rather than later.

    @property
    def name(self) -> str:
        """The last part of the path."""
        return expanded(self.path).name

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; empty when there are no labels."""
        return self._layout.classes

    def __len__(self) -> int:
        return int(self._layout.starts[-1])

    def title(self, index: int) -> str:
        """`<file>/<row>`."""
        shard, row = self._find(index)
        return f"{self._shards[shard].name}/{row}"

    def place(self, index: int) -> str:
        """The file's path and the row."""
        shard, row = self._find(index)
        return f"{self._shards[shard]}/{row}"

    def encoded(self, index: int) -> bytes:
        """The image's bytes; see `Encoded.encoded`."""
        data = self.beside(self._layout.image, index)
        if data is None:
            raise CorruptFileError(self.title(index), "the Parquet file holds neither bytes nor a path of it")
        return data

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Encoded.columns`: of encoded files, or texts, which are paths."""
        return self._layout.others

    def beside(self, column: str, index: int) -> bytes | None:
        """See `Encoded.beside`."""
        shard, row = self._find(index)
        path = self._shards[shard]
        found = path.stat()
        try:
            with contained():
                window = _window(str(path), found.st_mtime_ns, column, row // _WINDOW)
        except _BROKEN as error:
            raise CorruptFileError(self.title(index), f"{path}: {_first_line(error)}") from error
        data = window[row % _WINDOW]
        if data is None or isinstance(data, bytes):
            return data
        file = path.parent / data
        try:
            return file.read_bytes()
        except OSError as error:
            raise CorruptFileError(self.title(index), f"{data}: {error.strerror or error}") from error

    def label_of(self, index: int) -> int | None:
        """The image's class number; None when nobody knows."""
        labels = self._layout.labels
        return int(labels[index]) if len(labels) and labels[index] >= 0 else None

    def digest(self, progress: Progress) -> str:
        """SHA-256 (hex) of the files' names and bytes, and of the columns."""
        whole = f"{digest(self._shards, progress)} {self._layout.image} {self._layout.label}"
        first = self._shards[0]
        try:
            with contained():
                held = _window(str(first), first.stat().st_mtime_ns, self._layout.image, 0)
        except _BROKEN:
            return whole  # Whose reading says so again, image by image.
        if not any(isinstance(one, str) for one in held):
            return whole  # The images lie within the files.
        files = hashlib.sha256()
        for index in range(len(self)):
            try:
                files.update(hashlib.sha256(self.encoded(index)).digest())
            except CorruptFileError:
                files.update(b"unreadable")
        return f"{whole} {files.hexdigest()}"

    @cached_property
    def _shards(self) -> tuple[Path, ...]:
        return find_shards(self.path, ".parquet")

    @cached_property
    def _layout(self) -> _Layout:
        first = self._shards[0]
        try:
            with contained():
                schema, notes = pl.read_parquet_schema(first), pl.read_parquet_metadata(first)
                image = _image_column(schema, self.image, first)
                others = tuple(name for name, one in schema.items() if name != image and (_holds_images(one) or one == pl.String))
                features = _features(notes)
                label = _label_column(schema, features, self.label, first)
                counts = [pl.scan_parquet(path).select(pl.len()).collect().item() for path in self._shards]
                values = None if label is None else pl.concat([pl.read_parquet(path, columns=[label]) for path in self._shards])[label]
        except _BROKEN as error:
            raise DataError(f"cannot read the Parquet files of {self.path}: {_first_line(error)}") from error
        if not sum(counts):
            raise DataError(f"there are no rows in {self.path}")
        classes, labels = _numbered(values, features.get(label or "", {}).get("names"), str(first))
        return _Layout(image, others, label, np.cumsum([0, *counts]), labels, classes)

    def _find(self, index: int) -> tuple[int, int]:
        """Number of the file and row in it."""
        starts = self._layout.starts
        shard = int(np.searchsorted(starts, index, side="right")) - 1
        return shard, index - int(starts[shard])


@lru_cache(maxsize=4)
def _window(path: str, _changed: int, column: str, number: int) -> list[bytes | str | None]:  # The key of the cache.
    """The files in some rows of a column, or their paths."""
    images = pl.scan_parquet(path).slice(number * _WINDOW, _WINDOW).select(column).collect()[column]
    if images.dtype != pl.Struct:
        return images.to_list()
    return [next((row[key] for key in ("bytes", "path") if row and row.get(key) is not None), None) for row in images.to_list()]


def _holds_images(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any((field.name, field.dtype) in (("bytes", pl.Binary), ("path", pl.String)) for field in dtype.fields)
    return dtype == pl.Binary


def _image_column(schema: dict[str, pl.DataType], asked: str | None, path: Path) -> str:
    able = [name for name, dtype in schema.items() if _holds_images(dtype)]
    texts = [name for name, dtype in schema.items() if dtype == pl.String]
    if not able or asked in texts:
        able = [name for name in texts if name == asked or (asked is None and _PATHS.search(name))]
    if asked is None and len(unlike := [name for name in able if not _MASKS.search(name)]) == 1:
        return unlike[0]
    wanted = "image" if asked is None else asked
    if wanted in able:
        return wanted
    if asked is not None:
        raise DataError(
            f"{path} has no column of images called {asked}{nearest(asked, able)} (columns of images: {', '.join(able) or 'none'})"
        )
    if able:
        raise DataError(f"{path} has several columns of images: say which by image=, one of {', '.join(able)}")
    raise DataError(
        f"{path} has no column of encoded images (binary, or structs with bytes) or of paths (texts called image, file or path); "
        f"its columns are {', '.join(schema)}"
    )


def _label_column(schema: dict[str, pl.DataType], features: dict[str, dict[str, Any]], asked: str | None, path: Path) -> str | None:
    able = [name for name, dtype in schema.items() if dtype.is_integer() or dtype == pl.String]
    if asked is not None:
        if asked not in able:
            raise DataError(
                f"{path} has no column of labels called {asked}{nearest(asked, able)} (it could be {', '.join(able) or 'none'})"
            )
        return asked
    if "label" in able:
        return "label"
    named = [name for name in able if features.get(name, {}).get("_type") == "ClassLabel"]
    if len(named) > 1:
        raise DataError(f"{path} has several columns of labels: say which by label=, one of {', '.join(named)}")
    return named[0] if named else None


def _features(notes: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What Hugging Face's `datasets` has noted of each column."""
    try:
        found = json.loads(notes.get("huggingface", "{}")).get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}


def _numbered(values: pl.Series | None, names: list[str] | None, where: str) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Class names and class numbers, -1 where nobody knows; both empty without labels."""
    if values is None or values.null_count() == len(values):
        return (), np.empty(0, np.int32)
    if names and values.dtype.is_integer():
        numbers = values.fill_null(-1).to_numpy()
        if numbers.max() >= len(names):
            raise DataError(f"the label {numbers.max()} in {where} is no class number: there are {len(names)} classes")
        return tuple(names), np.maximum(numbers, -1).astype(np.int32)
    different = values.drop_nulls().unique().sort()
    classes, code = name_classes([str(value) for value in different], where)
    place = values.replace_strict(different, pl.Series(code, dtype=pl.Int32), default=-1, return_dtype=pl.Int32)
    return classes, place.to_numpy()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
