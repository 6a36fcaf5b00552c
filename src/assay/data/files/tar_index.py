"""One pass over the headers of tar files: where each image lies, and what its label is."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.data.files.shards import name_classes
from assay.data.files.store import SUFFIXES, is_image, members
from assay.data.names import Names
from assay.errors import DataError

__all__ = ["TarIndex", "index_tars"]

_LABEL_KEYS = ("label", "cls", "class")


@dataclass(frozen=True, eq=False)
class TarIndex:
    """Where N images lie: 24 bytes each, and their names.

    Attributes:
        shard: (N,) number of the tar file.
        offset: (N,) first byte in it.
        size: (N,) bytes.
        label: (N,) class number, or -1.
        names: Names of the members.
        classes: Class names; empty when there are no labels.
    """

    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    label: NDArray[np.int32]
    names: Names
    classes: tuple[str, ...]


def index_tars(paths: Sequence[Path], folder: str = "") -> TarIndex:
    """Find the images of uncompressed tar files, in the order of the files and of their members.

    Labels are those of `<key>.cls` or `<key>.json` beside `<key>.jpg`; without such files, the folders that the images
    lie in are the classes, when there are several.

    Args:
        paths: The tar files.
        folder: Take only members below this folder.

    Raises:
        DataError: A file is no tar or ends too early, a label cannot be read, or there are no images or folders of folders.
    """
    found = _Found()
    for number, path in enumerate(paths):
        found.take(path, number, folder.strip("/"))
    kept, names = np.ones(len(found.size), bool), found.names
    if found.labels:
        # With labels beside them, images are <key>.jpg; <key>.mask.png is something else of the same sample.
        kept = np.array(found.plain, bool)
        names = names if kept.all() else Names(name for name, own in zip(names, kept, strict=True) if own)
        classes, code = name_classes(list(found.labels), str(paths[0]))
        label = np.append(code, np.int32(-1))[np.array(found.label, np.int64)]
    else:
        classes, code = _folders(list(found.folders), paths[0])
        label = code[np.array(found.place, np.int64)]
    if not kept.any():
        below = f" below {folder}/" if folder else ""
        raise DataError(
            f"there are no images (*{', *'.join(SUFFIXES)}){below} in {paths[0]}" + (" and the others" if len(paths) > 1 else "")
        )
    return TarIndex(
        np.array(found.shard, np.int32)[kept],
        np.array(found.offset, np.int64)[kept],
        np.array(found.size, np.int64)[kept],
        label[kept].astype(np.int32),
        names,
        classes,
    )


class _Found:
    """What the pass has met so far, in columns."""

    def __init__(self) -> None:
        self.names = Names()
        self.shard, self.offset, self.size = array("i"), array("q"), array("q")
        self.plain, self.place, self.label = array("b"), array("i"), array("i")
        self.folders: dict[str, int] = {}
        self.labels: dict[str, int] = {}

    def take(self, path: Path, number: int, folder: str) -> None:
        """Walk one tar file."""
        keys: list[str] = []
        told: dict[str, int] = {}
        for name, offset, size, read in members(path):
            if folder and not name.startswith(folder + "/"):
                continue
            place, _, file = name.rpartition("/")
            key, _, ending = file.partition(".")
            if is_image(file):
                keys.append(f"{place}/{key}")
                self.names.append(name)
                self.shard.append(number)
                self.offset.append(offset)
                self.size.append(size)
                self.plain.append("." not in ending)
                self.place.append(self.folders.setdefault(place, len(self.folders)))
            elif ending in ("cls", "json") and key:
                text = _label(read(), ending, f"{path}/{name}")
                if text is not None:
                    told[f"{place}/{key}"] = self.labels.setdefault(text, len(self.labels))
        self.label.extend(told.get(key, -1) for key in keys)


def _label(data: bytes, ending: str, where: str) -> str | None:
    """The label that a sidecar file holds, as text; None when a JSON file holds none."""
    try:
        text = data.decode().strip()
        held = json.loads(text) if ending == "json" else text
    except ValueError as error:
        raise DataError(f"cannot read the label in {where}: {error}") from error
    if ending == "json":
        held = next((held[key] for key in _LABEL_KEYS if key in held), None) if isinstance(held, dict) else held
    if held is None:
        return None
    if isinstance(held, bool) or not isinstance(held, int | str) or held == "":
        raise DataError(f"the label in {where} must be a class number or a class name, not {held!r}")
    return str(held)


def _folders(folders: Sequence[str], path: Path) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Class names by folder, and each folder's class number; no classes where there is one folder."""
    if len(folders) < 2:
        return (), np.full(len(folders), -1, np.int32)
    above = sorted({folder.rpartition("/")[0] for folder in folders})
    if "" in folders or len(above) > 1:
        names = sorted(folder or "none" for folder in folders)
        raise DataError(
            f"{path} holds images in folders of several levels ({', '.join(names[:4])}): give folder=, the one that holds "
            f"the class folders{', such as ' + repr(above[-1]) if above[-1] else ''}"
        )
    classes, code = name_classes([folder.rpartition("/")[2] for folder in folders], str(path))
    return classes, code
