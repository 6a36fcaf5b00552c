"""Your own images: one folder per class, or one folder of images without labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from assay.core.progress import Progress
from assay.core.registry import check_at_least, register
from assay.core.whole_files import expanded
from assay.data.files.dicom import is_dicom
from assay.data.files.encoded import Encoded
from assay.data.files.reading import AS_IT_IS, Reading
from assay.data.files.store import FILES, FolderStore
from assay.data.names import Names
from assay.errors import DataError

__all__ = ["ImageFolder", "scan_classes"]

_MARK = 132
"""Bytes at the beginning of a DICOM file, its mark at their end."""
_KINDS = "*" + ", *".join(FILES)


@register
class ImageFolder(Encoded):
    """Images of `path/<class>/*`, or of `path/*` without labels: JPEG, PNG, WebP, BMP, TIFF, npy and DICOM files, by their endings.

    DICOM files without an ending, or with one of a unique identifier (`1.2.840`), are told by their mark.

    Files are sorted by class, then by name, and read when asked for; `assay.data.files.decode` says how they become RGB.
    Hidden files and files with other endings are no part of the data; `skipped` counts the latter. All images
    must have one size, or `size` or a crop be given.

    Attributes:
        path: The folder.
        size: Resize the shorter side to this many pixels and cut the centre square; None takes the images as they are.
        reading: What else is done to each picture; see `Reading`.

    Raises:
        DataError: There is no such folder, or no image in it or in one of its class folders.
    """

    path: str
    size: int | None = None
    reading: Reading = AS_IT_IS

    def __post_init__(self) -> None:
        check_at_least(self, 1, "size")
        _ = self._files  # Complain of a missing or empty folder now rather than later.

    @property
    def name(self) -> str:
        """The folder's own name."""
        return Path(self.path).resolve().name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, sorted; empty when there are none."""
        return tuple(self._files[0])

    def __len__(self) -> int:
        return len(self._files[1].names)

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files of each ending lie among the images and are none."""
        return self._files[2]

    def title(self, index: int) -> str:
        """`<class>/<file>`, or `<file>` without classes."""
        return self._files[1].names[index]

    def place(self, index: int) -> str:
        """The file's path."""
        return str(self._files[1].root / self.title(index))

    def encoded(self, index: int) -> bytes:
        """The file's bytes; see `Encoded.encoded`."""
        return self._files[1].data(index)

    def label_of(self, index: int) -> int | None:
        """Number of the file's class folder; None without such folders."""
        return self._files[0].get(self.title(index).split("/")[0])

    def digest(self, progress: Progress) -> str:
        """SHA-256 (hex) of all names and bytes."""
        return self._files[1].digest(progress)

    @cached_property
    def _files(self) -> tuple[dict[str, int], FolderStore, Mapping[str, int]]:
        """Class numbers by name, the files, and the endings of what is no image."""
        root = expanded(self.path)
        if not root.exists():
            raise DataError(f"there is no folder {self.path}: give a folder of images, or of one folder of images per class")
        if not root.is_dir():
            raise DataError(f"{self.path} is a file, not a folder: give the folder that holds the images, a .tar or a .parquet file")
        skipped: Counter[str] = Counter()
        classes, names = scan_classes(root, skipped)
        return {name: number for number, name in enumerate(classes)}, FolderStore(root, names), skipped


def scan_classes(root: Path, skipped: Counter[str] | None = None) -> tuple[tuple[str, ...], Names]:
    """Class names and image names (`class/file`, or `file` without classes) of a folder, sorted.

    Args:
        root: The folder.
        skipped: Gets the number of files of each ending that are no images.

    Raises:
        DataError: There are no images, a class folder has none, or images lie beside class folders.
    """
    plain, folders = _entries(root, skipped)
    inside = {folder: _entries(root / folder, skipped) for folder in folders}
    filled = [folder for folder in folders if inside[folder][0]]
    if plain and filled:
        raise DataError(f"{root} holds both images ({plain[0]}) and folders of images ({filled[0]}): keep only one of the two kinds")
    if plain:
        return (), plain
    if not filled:
        deeper = [folder for folder in folders if inside[folder][1]]
        hint = f"; try {root / deeper[0]}" if deeper else ""
        raise DataError(f"there are no images ({_KINDS}) in {root} or in its folders{hint}")
    empty = sorted(set(folders) - set(filled))
    if empty:
        raise DataError(f"the class folder {root / empty[0]} holds no images ({_KINDS}): add some or remove the folder")
    return tuple(folders), Names(f"{folder}/{file}" for folder in folders for file in inside[folder][0])


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link that leads to itself: no folder, and no reason to lose the others.
        return False


def _is_bare_dicom(entry: os.DirEntry[str]) -> bool:
    """Whether a file without an ending, or with one of a unique identifier (1.2.840), is a DICOM file, as scanners name them."""
    ending = Path(entry.name).suffix[1:]
    if ending and not ending.isdecimal():
        return False
    try:
        with Path(entry.path).open("rb") as file:
            return is_dicom(file.read(_MARK))
    except OSError:
        return False


def _entries(folder: Path, skipped: Counter[str] | None = None) -> tuple[Names, list[str]]:
    """Sorted names of the images and of the folders right inside `folder`, without hidden ones."""
    images, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_dir(entry):
                    folders.append(entry.name)
                elif entry.name.lower().endswith(FILES) or _is_bare_dicom(entry):
                    images.append(entry.name)
                elif skipped is not None:
                    skipped[Path(entry.name).suffix.lower() or "without ending"] += 1
    except OSError as error:
        raise DataError(f"cannot look into the folder {folder}: {error.strerror or error}") from error
    return Names(sorted(images)), sorted(folders)
