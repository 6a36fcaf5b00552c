"""CIFAR-10 in torchvision's layout: pickled batches, opened by an unpickler that makes arrays and nothing else."""

from __future__ import annotations

import hashlib
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.core.progress import Progress, silent
from assay.data.files.store import Store
from assay.errors import DataError

__all__ = ["BatchesStore", "find_batches"]

_FILES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class BatchesStore(Store):
    """The images of some batch files; a file's pixels are kept in memory once read.

    Attributes:
        root: The folder `cifar-10-batches-py`.
        labels: Class numbers.
    """

    def __init__(self, root: Path, files: tuple[str, ...]) -> None:
        self.root = root
        parts = [_load(str(root / file)) for file in files]
        self.names = tuple(name for _, _, names in parts for name in names)
        self.labels = tuple(label for _, labels, _ in parts for label in labels)
        self._pixels = [pixels for pixels, _, _ in parts]
        self._ends = np.cumsum([len(pixels) for pixels in self._pixels])

    def data(self, index: int) -> bytes:
        """The 3072 bytes of image `index`, plane by plane."""
        return self._row(index).tobytes()

    def image(self, index: int) -> Tensor:
        """Image `index`, (3, 32, 32) float32 in [0, 1]."""
        return torch.from_numpy(self._row(index).astype(np.float32).reshape(3, 32, 32) / np.float32(255))

    def digest(self, progress: Progress = silent) -> str:  # It takes no time.
        """SHA-256 (hex) of all names, labels and pixels."""
        whole = hashlib.sha256(repr((self.names, self.labels)).encode())
        for pixels in self._pixels:
            whole.update(pixels.tobytes())
        return whole.hexdigest()

    def _row(self, index: int) -> NDArray[np.uint8]:
        part = int(np.searchsorted(self._ends, index, side="right"))
        row: NDArray[np.uint8] = self._pixels[part][index - self._ends[part]]
        return row


def find_batches(root: Path, split: str) -> BatchesStore | None:
    """The batches of `split` below `root`, or None when there are none.

    Raises:
        DataError: Some of the batch files are missing or damaged.
    """
    folder = root / "cifar-10-batches-py"
    files = _FILES[split]
    present = [file for file in files if (folder / file).is_file()]
    if not present:
        return None
    if len(present) < len(files):
        missing = sorted(set(files) - set(present))
        raise DataError(
            f"{folder} is incomplete: {', '.join(missing)} missing; remove it and run `assay data download cifar10 --root {root}`"
        )
    return BatchesStore(folder, files)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR-10 file does")
        # numpy moved the module; the files still carry the old name.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


@lru_cache(maxsize=6)
def _load(path: str) -> tuple[NDArray[np.uint8], tuple[int, ...], tuple[str, ...]]:
    try:
        with Path(path).open("rb") as file:
            entry = _ArraysOnly(file, encoding="latin1").load()
        pixels, labels = entry["data"], tuple(int(label) for label in entry["labels"])
    except Exception as error:  # Broken pickles raise nearly anything.
        raise DataError(f"cannot read the CIFAR-10 file {path}: {error}; download it again") from error
    good = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape == (len(labels), 3072)
    if not good or not all(0 <= label < 10 for label in labels):
        raise DataError(f"the CIFAR-10 file {path} holds other arrays than 3072 bytes and a label from 0 to 9 per image; download it again")
    names = entry.get("filenames") or [f"{Path(path).name}-{row}" for row in range(len(labels))]
    return pixels, labels, tuple(str(name) for name in names)
