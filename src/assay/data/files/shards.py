"""Which files a data set in several parts is made of, and what the labels in them are called."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.core.progress import Progress
from assay.core.whole_files import expanded
from assay.errors import DataError

__all__ = ["digest", "find_shards", "is_pattern", "name_classes"]

_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
_MOST_CLASSES = 1_000_000
_READ = 2**22
_MIB = 2**20
_TELL = 256
"""MiB that are hashed without telling."""


def is_pattern(path: str) -> bool:
    """Whether a path has wildcards (`*`, `?`, `[...]`) or braces (`{000..099}`, `{a,b}`)."""
    return any(mark in path for mark in "*?[{")


def find_shards(path: str, suffix: str) -> tuple[Path, ...]:
    """The files that `path` names, sorted by name.

    Args:
        path: A file, a folder of files that end in `suffix` (or whose folder `data` holds them), or a pattern.
        suffix: Such as ".tar".

    Raises:
        DataError: There are none, one named by braces is missing, or the folder mixes the splits of a data set.
    """
    root = expanded(path)
    if root.is_dir():
        found = [one for one in sorted((root / "data").glob(f"*{suffix}")) if not one.name.startswith(".")]
        found = [one for one in sorted(root.glob(f"*{suffix}")) if not one.name.startswith(".")] or found
        splits = sorted({word for one in found for word in re.split("[^a-z]+", one.stem.lower()) if word in _SPLITS})
        if len(splits) > 1:
            raise DataError(
                f"{path} holds parts of several splits ({', '.join(splits)}): choose one by a pattern, such as "
                f"'{found[0].parent}/*{splits[-1]}*{suffix}'"
            )
    elif root.exists() or not is_pattern(path):
        found = [root]
    else:
        named = list(_braces(str(root)))
        found = sorted({Path(one) for name in named for one in (glob.glob(name) if is_pattern(name) else [name])})  # noqa: PTH207
    missing = [one for one in found if not one.is_file()]
    if missing:
        raise DataError(
            f"there is no file {missing[0]}: give a {suffix} file, a folder of them, or a pattern such as 'part-{{000..099}}{suffix}'"
        )
    if not found:
        raise DataError(f"there are no {suffix} files in {path}" if root.is_dir() else f"no file is named like {path}")
    return tuple(found)


def _braces(text: str) -> Iterator[str]:
    """`a{00..02}` as a00, a01, a02, and `a{x,y}` as ax, ay."""
    found = re.search(r"\{([^{}]*)\}", text)
    if found is None:
        yield text
        return
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if numbers:
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        choices = [f"{number:0{width}d}" for number in range(int(numbers[1]), int(numbers[2]) + 1)]
    else:
        choices = found[1].split(",")
    for choice in choices:
        yield from _braces(text[: found.start()] + choice + text[found.end() :])


def digest(paths: Sequence[Path], progress: Progress) -> str:
    """SHA-256 (hex) of the files' names and bytes, read once from beginning to end.

    Raises:
        DataError: A file cannot be read.
    """
    whole, done = hashlib.sha256(), 0
    total = sum(path.stat().st_size for path in paths) // _MIB
    for path in paths:
        own = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while part := file.read(_READ):
                    own.update(part)
                    done += len(part)
                    if total > _TELL:
                        progress("hashing MiB", min(done // _MIB, total), total)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        whole.update(path.name.encode(errors="surrogateescape") + b"\0" + own.digest())
    return whole.hexdigest()


def name_classes(values: Sequence[str], where: str) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Class names, and the class number of each of the different labels `values`.

    Whole numbers are class numbers as they stand, those below 0 mean that nobody knows (-1); other texts are numbered
    in the order of the alphabet.

    Raises:
        DataError: A number is too large to be a class.
    """
    try:
        numbers = [max(int(value), -1) for value in values]
    except ValueError:
        classes = sorted(values)
        place = {name: number for number, name in enumerate(classes)}
        return tuple(classes), np.array([place[value] for value in values], np.int32)
    largest = max(numbers, default=-1)
    if largest >= _MOST_CLASSES:
        raise DataError(f"the label {largest} in {where} is no class number: there would be more than {_MOST_CLASSES} classes")
    return tuple(map(str, range(largest + 1))), np.array(numbers, np.int32)
