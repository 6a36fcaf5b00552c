"""Image data sets of Hugging Face's `datasets`: a name on the hub, or a folder that it wrote."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from functools import cached_property
from pathlib import Path
from typing import Any

from assay.core.progress import Progress
from assay.core.registry import check_at_least, nearest, register
from assay.core.whole_files import expanded
from assay.data.base import CorruptFileError
from assay.data.files.encoded import Encoded
from assay.data.files.reach import hub_answers
from assay.data.files.reading import AS_IT_IS, Reading
from assay.errors import DataError, SpecError

__all__ = ["HubImages", "is_saved"]


def is_saved(path: Path) -> bool:
    """Whether a folder is what `save_to_disk` of `datasets` wrote."""
    return (path / "dataset_dict.json").is_file() or ((path / "state.json").is_file() and (path / "dataset_info.json").is_file())


@register
class HubImages(Encoded):
    """Images of a data set of `datasets`, in its column of images, with the labels of its column of class labels.

    Attributes:
        path: A name on the hub, downloaded where it is not in the library's cache, or a folder that `save_to_disk` wrote.
        size: Resize the shorter side to this many pixels and cut the centre square; None takes the images as they are.
        part: The split; None for the only one.
        reading: What else is done to each picture; see `Reading`.

    Raises:
        SpecError: `datasets` is not installed.
        DataError: There is no such data set, split or column of images.
    """

    path: str
    size: int | None = None
    part: str | None = None
    reading: Reading = AS_IT_IS

    def __post_init__(self) -> None:
        check_at_least(self, 1, "size")
        _ = self._rows  # Complain of what is not there now rather than later.

    @property
    def name(self) -> str:
        """The last part of the name, and the split."""
        last = Path(self.path).name
        return last if self.part is None else f"{last}, {self.part}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class labels; empty when there are none."""
        return tuple(_class_label(self._rows.features[self._label]).names) if self._label is not None else ()

    @property
    def several(self) -> bool:
        """Whether labels are lists of class labels."""
        return self._label is not None and hasattr(self._rows.features[self._label], "feature")

    def __len__(self) -> int:
        return len(self._rows)

    def title(self, index: int) -> str:
        """The file's name where the data set has it, else the row."""
        path = self._rows[index][self._image].get("path")
        return f"{index}-{Path(path).name}" if path else str(index)

    def encoded(self, index: int) -> bytes:
        """The image's file; see `Encoded.encoded`."""
        data = self.beside(self._image, index)
        if data is None:
            raise CorruptFileError(str(index), "the data set holds neither bytes nor a file of it")
        return data

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Encoded.columns`."""
        return tuple(name for name in self._pictures if name != self._image)

    def beside(self, column: str, index: int) -> bytes | None:
        """See `Encoded.beside`."""
        held = self._rows[index][column]
        if held is None or held.get("bytes") is held.get("path") is None:
            return None
        if held.get("bytes") is not None:
            return bytes(held["bytes"])
        try:
            return Path(held["path"]).read_bytes()
        except OSError as error:
            raise CorruptFileError(str(index), f"{held['path']}: {error.strerror or error}") from error

    def label_of(self, index: int) -> int | tuple[int, ...] | None:
        """The image's class number, or 1 and 0 for each class where there may be several; None when nobody knows."""
        found = self._rows[index][self._label] if self._label is not None else None
        if isinstance(found, list):
            return tuple(int(number in found) for number in range(len(self.classes)))
        return int(found) if found is not None and found >= 0 else None

    def digest(self, progress: Progress) -> str:
        """SHA-256 (hex) of all files and labels, found by reading them once."""
        whole = hashlib.sha256()
        for index in range(len(self)):
            try:
                whole.update(hashlib.sha256(self.encoded(index)).digest() + f"{self.label_of(index)}".encode())
            except CorruptFileError:
                whole.update(b"unreadable")
            progress("hashing", index + 1, len(self))
        return whole.hexdigest()

    @cached_property
    def _pictures(self) -> list[str]:
        return [name for name, one in self._table.features.items() if type(one).__name__ == "Image"]

    @cached_property
    def _image(self) -> str:
        names = self._pictures
        if not names:
            raise DataError(f"{self.path} has no column of images (its columns are {', '.join(self._table.features)})")
        return "image" if "image" in names else names[0]

    @cached_property
    def _label(self) -> str | None:
        names = [name for name, one in self._table.features.items() if type(_class_label(one)).__name__ == "ClassLabel"]
        return "label" if "label" in names else next(iter(names), None)

    @cached_property
    def _rows(self) -> Any:
        """The rows, whose pictures stay encoded."""
        rows, encoded = self._table, _datasets(self.path).Image(decode=False)
        for name in self._pictures:
            rows = rows.cast_column(name, encoded)
        return rows

    @cached_property
    def _table(self) -> Any:
        library, place = _datasets(self.path), expanded(self.path)
        # By the name of a kind of files, datasets reads all that lie in the working folder.
        if self.path in _kinds() and not is_saved(place):
            raise DataError(
                f"{self.path} is a kind of files to datasets, no data set; name one of the hub, such as "
                f"hf:ORGANISATION/NAME, or a folder as ./{self.path}"
            )
        if not (place.exists() or _is_cached(library, self.path) or hub_answers()):
            raise DataError(
                f"datasets cannot load {self.path}: the Hugging Face hub does not answer, and it is not in the library's cache; check the "
                "network connection, or give a folder that save_to_disk wrote"
            )
        try:
            found = library.load_from_disk(str(place)) if is_saved(place) else library.load_dataset(self.path)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise DataError(f"datasets cannot load {self.path}: {reason}") from error
        if not hasattr(found, "keys"):
            if self.part is not None:
                raise DataError(f"{self.path} has no splits; leave @{self.part} out")
            return found
        splits = list(found)
        if self.part is None and len(splits) > 1:
            raise DataError(f"{self.path} has the splits {', '.join(splits)}; say which: hf:{self.path}@{splits[-1]}")
        part = self.part if self.part is not None else splits[0]
        if part not in splits:
            raise DataError(f"{self.path} has no split {part!r}{nearest(part, splits)} (it has {', '.join(splits)})")
        return found[part]


def _class_label(feature: Any) -> Any:
    """A feature, or of a list that of its elements."""
    return getattr(feature, "feature", feature)


def _datasets(path: str) -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise SpecError(f'{path} is a data set of datasets, which is not installed: pip install "assay[hf]"') from error


def _is_cached(library: Any, name: str) -> bool:
    """Whether the library's cache has a data set of that name, which it writes in small letters with underscores."""
    root = Path(library.config.HF_DATASETS_CACHE)
    plain = name.replace("/", "___").replace("_", "").lower()
    return root.is_dir() and any(one.name.replace("_", "").lower() == plain for one in root.iterdir())


def _kinds() -> set[str]:
    """What `datasets` has readers for: text, csv and so on."""
    return {one.name for one in pkgutil.iter_modules(importlib.import_module("datasets.packaged_modules").__path__)}
