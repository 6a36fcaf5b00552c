"""Colorized MNIST in the three forms that people have it: one npz file, a tree of PNG files, MNIST's own idx files."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.core.noise import derive
from assay.data.base import CorruptFileError
from assay.data.files.decode import decode
from assay.data.files.image_folder import scan_classes
from assay.data.root import data_root
from assay.errors import DataError

__all__ = ["Place", "SmallDigits", "find_place", "load_source"]

SIDE = 28
_NPZ = "colorized-mnist.npz"
_TREES = ("colorized-MNIST", "colorized-MNIST-master", "colorized-mnist", ".")
_IDX = ("MNIST/raw", "mnist", ".")
_IDX_PARTS = {"training": "train", "testing": "t10k"}
_COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
_GET = (
    "get colorized MNIST by `git clone https://github.com/jayaneetha/colorized-MNIST` in that folder, "
    "or MNIST by torchvision.datasets.MNIST(folder, download=True)"
)


@dataclass(frozen=True, eq=False)
class SmallDigits:
    """Small digits on coloured grounds, sorted by class, then by name.

    Attributes:
        images: (M, 28, 28, 3) uint8.
        labels: (M,) int64.
        names: M names, `<digit>/<colour>_<number>.png`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of names and pixels; the same for the npz file and the PNG tree."""
        whole = hashlib.sha256("\n".join(self.names).encode())
        whole.update(self.images.tobytes())
        return whole.hexdigest()


@dataclass(frozen=True)
class Place:
    """Where digits lie.

    Attributes:
        form: `"npz"`, `"tree"` or `"idx"`.
        path: The npz file, or the folder of the tree or of the idx files.
    """

    form: str
    path: Path


def find_place(root: str | None, part: str) -> Place:
    """The first form of `part` (`"training"` or `"testing"`) below the root.

    Raises:
        DataError: No root is set, or there is none.
    """
    folder = data_root(root, "hard-mnist", _GET)
    if (folder / _NPZ).is_file():
        return Place("npz", folder / _NPZ)
    for tree in _TREES:
        if (folder / tree / part / "0").is_dir():
            return Place("tree", (folder / tree).resolve())
    for raw in _IDX:
        if _idx_file(folder / raw, part, "images-idx3") is not None:
            return Place("idx", (folder / raw).resolve())
    raise DataError(
        f"there are no digits for hard-mnist in {folder}: looked for {_NPZ}, colorized-MNIST/{part}/<digit>/*.png and "
        f"MNIST/raw/{_IDX_PARTS[part]}-images-idx3-ubyte; {_GET}"
    )


@lru_cache(maxsize=4)
def load_source(place: Place, part: str) -> SmallDigits:
    """Read all digits of `part`, some 25 MB.

    Raises:
        DataError: Files are missing or damaged, or hold something else than such digits.
    """
    readers: dict[str, Callable[[Path, str], tuple[NDArray[np.uint8], NDArray[np.int64], Sequence[str]]]] = {
        "npz": _from_npz,
        "tree": _from_tree,
        "idx": _from_idx,
    }
    try:
        images, labels, names = readers[place.form](place.path, part)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"cannot read the digits in {place.path}: {error}; get them again") from error
    good = images.shape == (len(labels), SIDE, SIDE, 3) and images.dtype == np.uint8 and len(names) == len(labels)
    if not good or not len(labels) or labels.min() < 0 or labels.max() > 9:
        raise DataError(
            f"the {part} digits in {place.path} are no colour images of {SIDE} x {SIDE} bytes with labels from 0 to 9: get them again"
        )
    full = [f"{label}/{name}" for label, name in zip(labels.tolist(), names, strict=True)]
    order = sorted(range(len(full)), key=full.__getitem__)
    return SmallDigits(np.ascontiguousarray(images[order]), labels[order], tuple(full[number] for number in order))


def _from_npz(path: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64], Sequence[str]]:
    with np.load(path, allow_pickle=False) as file:
        labels = file[f"{part}_labels"].astype(np.int64)
        return file[f"{part}_images"], labels, [str(name) for name in file[f"{part}_names"]]


def _from_tree(path: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64], Sequence[str]]:
    _, names = scan_classes(path / part)
    images = np.empty((len(names), SIDE, SIDE, 3), np.uint8)
    for number, name in enumerate(names):
        file = path / part / name
        try:
            pixels = decode(file.read_bytes(), str(file))
        except CorruptFileError as error:
            raise DataError(str(error)) from error
        if pixels.shape != (3, SIDE, SIDE):
            raise DataError(f"{file} is {pixels.shape[2]} x {pixels.shape[1]} pixels; the digits of colorized MNIST are {SIDE} x {SIDE}")
        images[number] = pixels.mul(255).round().byte().permute(1, 2, 0).numpy()
    return images, np.array([int(name.split("/")[0]) for name in names], np.int64), [name.split("/")[1] for name in names]


def _from_idx(path: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64], Sequence[str]]:
    """White ink on one of the three pure colours, as in colorized MNIST; a number's colour never changes."""
    grey, labels = _read_idx(path, part, "images-idx3"), _read_idx(path, part, "labels-idx1").astype(np.int64)
    words = np.random.Philox(key=derive(0, f"hard-mnist colours {part}")).random_raw(len(grey))
    drawn = (words >> np.uint64(32)).astype(np.int64) * len(_COLOURS) >> 32
    ground = np.array(list(_COLOURS.values()), np.uint8)[drawn]
    # Colorized MNIST counts every pixel that has any ink as ink.
    images = np.where(grey[..., None] > 0, np.uint8(255), ground[:, None, None])
    colours = list(_COLOURS)
    return images, labels, [f"{colours[colour]}_{number}.png" for number, colour in enumerate(drawn.tolist())]


def _idx_file(folder: Path, part: str, kind: str) -> Path | None:
    names = (f"{_IDX_PARTS[part]}-{kind}-ubyte", f"{_IDX_PARTS[part]}-{kind}-ubyte.gz")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_idx(folder: Path, part: str, kind: str) -> NDArray[np.uint8]:
    path = _idx_file(folder, part, kind)
    if path is None:
        raise DataError(f"{folder} is incomplete: {_IDX_PARTS[part]}-{kind}-ubyte is missing; get the files of MNIST again")
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    dimensions = data[3] if data[:3] == b"\0\0\x08" else 0
    shape = np.frombuffer(data, ">u4", dimensions, 4).astype(int) if dimensions else np.zeros(1, int)
    if not dimensions or shape.prod() != len(data) - 4 - 4 * dimensions:
        raise DataError(f"{path} is no whole idx file of bytes: get it again")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
