"""CelebA's official text files, and the masks that lie beside its images."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.core.whole_files import expanded
from assay.data.base import CorruptFileError
from assay.errors import DataError

__all__ = ["find_masks", "read_attributes", "read_mask", "read_partition"]


def read_attributes(path: Path, wanted: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Image names and the attributes `wanted` (N, A) of `list_attr_celeba.txt`.

    Raises:
        DataError: The file cannot be read, lacks an attribute, or has a line of another form.
    """
    return _attributes(path, path.stat().st_mtime_ns, wanted)


def read_partition(path: Path) -> dict[str, int]:
    """The official part of each image by its name: 0 train, 1 val, 2 test.

    Raises:
        DataError: The file is missing, or has a line of another form.
    """
    if not path.is_file():
        raise DataError(
            f"there is no {path}, which the official partition of CelebA needs: put it beside the images, or use the random one"
        )
    parts = {}
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise DataError(f"line {number} of {path} is no image name and part 0, 1 or 2: {line[:60]!r}; get the file again")
        parts[words[0]] = int(words[1])
    return parts


def find_masks(folder: str) -> dict[int, Path]:
    """Files `<number>_hair.png` in a folder and in its folders, by number.

    Raises:
        DataError: There is no such folder, or no such file in it.
    """
    root = expanded(folder)
    if not root.is_dir():
        raise DataError(f"masks is {folder}, which is no folder: give one that holds <number>_hair.png")
    stems = ((path.name.removesuffix("_hair.png"), path) for path in sorted(root.rglob("*_hair.png")))
    found = {int(stem): path for stem, path in stems if stem.isdecimal()}
    if not found:
        raise DataError(f"there are no files <number>_hair.png in {folder}: give the folder of the hair masks")
    return found


def read_mask(path: Path) -> bytes:
    """Bytes of a mask file.

    Raises:
        CorruptFileError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptFileError(str(path), error.strerror or str(error)) from error


@lru_cache(maxsize=4)
def _attributes(path: Path, _changed: int, wanted: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    lines = _lines(path)
    # The first line counts the images, the second names the attributes.
    header = lines[1].split() if len(lines) > 1 else []
    missing = [name for name in wanted if name not in header]
    if missing:
        raise DataError(f"the second line of {path} names no attribute {', '.join(missing)}: get the file again")
    columns = [1 + header.index(name) for name in wanted]
    names, values = [], np.empty((len(lines) - 2, len(wanted)), np.bool_)
    for row, line in enumerate(lines[2:]):
        words = line.split()
        if len(words) != 1 + len(header):
            raise DataError(f"line {row + 3} of {path} is no image name and {len(header)} attributes: {line[:60]!r}; get the file again")
        names.append(words[0])
        values[row] = [words[column] == "1" for column in columns]
    return tuple(names), values


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise DataError(f"cannot read {path}: {reason}; get the file again") from error
