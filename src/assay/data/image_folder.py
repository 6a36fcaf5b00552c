"""Your own images: one folder per class, or one folder of images without labels."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path

from torch import Tensor

from assay.core.registry import check_at_least, register
from assay.data.base import Dataset, Item
from assay.data.decode import decode
from assay.data.store import FolderStore, is_image
from assay.errors import DataError

__all__ = ["ImageFolder", "scan_classes"]


@register
class ImageFolder(Dataset):
    """Images of `path/<class>/*.jpg|jpeg|png` (any case), or of `path/*.jpg|jpeg|png` without labels.

    Files are sorted by class, then by name, and read when asked for; `assay.data.decode` says how they become RGB.
    Hidden files and files with other endings are no part of the data. All images must have one size, or `size` be given.

    Attributes:
        path: The folder.
        size: Resize the shorter side to this many pixels and cut the centre square; None takes the images as they are.

    Raises:
        DataError: There is no such folder, or no image in it or in one of its class folders.
    """

    path: str
    size: int | None = None

    split = "all"

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
        return self._files[0]

    def __len__(self) -> int:
        return len(self._files[1].names)

    def __getitem__(self, index: int) -> Item:
        index = self.check_index(index)
        classes, store = self._files
        name = store.names[index]
        image = self._decoded(index)
        if self.size is None and image.shape != self._shape:
            raise DataError(
                f"the images of {self.path} have different sizes: {name} is {_pixels(tuple(image.shape))}, "
                f"others are {_pixels(self._shape)}; give size=, such as size=224, to resize and crop all of them"
            )
        return Item(image, classes.index(name.split("/")[0]) if classes else None, index, name)

    def content_hash(self) -> str:
        """SHA-256 of the names and bytes of all files, and of `size`; the folder's own place does not matter."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        return hashlib.sha256(f"{self._files[1].digest()} size={self.size}".encode()).hexdigest()

    @cached_property
    def _files(self) -> tuple[tuple[str, ...], FolderStore]:
        root = Path(self.path).expanduser()
        if not root.exists():
            raise DataError(f"there is no folder {self.path}: give a folder of images, or of one folder of images per class")
        if not root.is_dir():
            raise DataError(f"{self.path} is a file, not a folder: give the folder that holds the images")
        classes, names = scan_classes(root)
        return classes, FolderStore(root, names)

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        """Shape of the first image that can be read, which all others must have."""
        for index in range(len(self)):
            try:
                return tuple(self._decoded(index).shape)
            except DataError:
                continue
        raise DataError(f"none of the {len(self)} images of {self.path} can be read")

    def _decoded(self, index: int) -> Tensor:
        store = self._files[1]
        return decode(store.data(index), str(store.root / store.names[index]), self.size)


def scan_classes(root: Path) -> tuple[tuple[str, ...], list[str]]:
    """Class names and image names (`class/file`, or `file` without classes) of a folder, sorted.

    Raises:
        DataError: There are no images, a class folder has none, or images lie beside class folders.
    """
    plain, folders = _entries(root)
    inside = {folder: _entries(root / folder) for folder in folders}
    filled = [folder for folder in folders if inside[folder][0]]
    if plain and filled:
        raise DataError(f"{root} holds both images ({plain[0]}) and folders of images ({filled[0]}): keep only one of the two kinds")
    if plain:
        return (), plain
    if not filled:
        deeper = [folder for folder in folders if inside[folder][1]]
        hint = f"; try {root / deeper[0]}" if deeper else ""
        raise DataError(f"there are no images (*.jpg, *.jpeg, *.png) in {root} or in its folders{hint}")
    empty = sorted(set(folders) - set(filled))
    if empty:
        raise DataError(f"the class folder {root / empty[0]} holds no images (*.jpg, *.jpeg, *.png): add some or remove the folder")
    return tuple(folders), [f"{folder}/{file}" for folder in folders for file in inside[folder][0]]


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Sorted names of the images and of the folders right inside `folder`, without hidden ones."""
    images, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif is_image(entry.name):
                    images.append(entry.name)
    except OSError as error:
        raise DataError(f"cannot look into the folder {folder}: {error.strerror or error}") from error
    return sorted(images), sorted(folders)


def _pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]}"
