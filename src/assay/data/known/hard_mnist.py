"""Hard MNIST: MNIST's digits among noise stripes and a smaller digit, with the truth known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from assay.core.noise import derive
from assay.core.registry import check_at_least, check_choice, register
from assay.data.base import Batch, Dataset, Item
from assay.data.known.compose import HEADER, below
from assay.data.known.hard_mnist_paint import paint_mnist
from assay.data.known.mnist_source import Place, SmallDigits, find_place, load_source
from assay.errors import DataError

__all__ = ["HardMNIST"]

_PARTS = {"train": "training", "tune": "testing", "test": "testing"}
_TUNE = 0.15  # Share of the testing part that is held out for tuning: 1500 of 10 000.
_CHUNK_PIXELS = 2**22  # Canvas pixels built at once: bounds the builder's memory whatever the batch.
_WHITE = 2.99  # Least sum of a white pixel's channels, each in [0, 1].
_VERSION = "hard-mnist 1"  # Part of the content hash; raise it when the pictures change.


@register
class HardMNIST(Dataset):
    """Hard MNIST (Bhalla, Srinivas, Lakkaraju, NeurIPS 2023), built from colorized MNIST when asked for.

    On a canvas of the digit's own ground colour lie 0 to 2 horizontal and 0 to 2 vertical stripes of noise, the ink of a
    small digit of another class (the distractor), and last the labelled digit with its ground, which may hide the others.
    Sides at 224 pixels are 112 (digit), 56 (distractor) and up to 50 (stripes); they scale with `size`. Truth masks are the
    ink of the large digit, distractor masks the visible ink of the small one (none where the digit hides it all). The authors
    draw the small digit from all classes; a digit of the same class would be evidence rather than a distractor.

    There are two definitions of the truth. Here it is the ink: what differs from the ground by at least half as much as what differs
    most, the digit's soft edges included. The authors' evaluation takes the white pixels, whose channels sum to at least 2.99, which
    is the core of the strokes. They dim the small digit by 2 % so that it is not among them; here its pixels are left out.

    Looked for below the root in this order: `colorized-mnist.npz`; `colorized-MNIST/training/<digit>/*.png`, also without the
    outer folder; torchvision's `MNIST/raw` (idx files, coloured here as colorized MNIST is).

    Attributes:
        split: `"train"` (8835 images), `"tune"` (1500 of the 10 000 testing digits, held out for DiET) or `"test"` (the others).
            Every source digit is the large one of one image; any beginning of a split has an equal share of every class.
        size: Side of the square image in pixels, at least 32.
        seed: Decides layout, noise and the small digits, not which split owns a digit.
        truth: `"ink"`, or `"white"` for the authors' definition.
        root: Folder to look in; None for that of the environment variable ASSAY_DATA.

    Raises:
        SpecError: A parameter is out of range.
        DataError: There are no digits below the root, or they are damaged.
    """

    split: str = "test"
    size: int = 224
    seed: int = 0
    truth: str = "ink"
    root: str | None = None

    name = "hard-mnist"
    has_truth = True
    has_distractor = True
    classes = tuple("0123456789")

    def __post_init__(self) -> None:
        check_choice(self, "split", tuple(_PARTS))
        check_choice(self, "truth", ("ink", "white"))
        check_at_least(self, 32, "size")
        _ = self._found  # Complain of missing files now rather than later.

    @property
    def place(self) -> Path:
        """The npz file, or the folder of PNG or idx files, that the digits come from."""
        return self._found.path

    def __len__(self) -> int:
        return len(self._own)

    def __getitem__(self, index: int) -> Item:
        return self.read([self.check_index(index)]).item(0)

    def read(self, indices: Sequence[int]) -> Batch:
        """Build the items `indices` at once, bit by bit the same as one by one."""
        chunk = max(1, _CHUNK_PIXELS // self.size**2)
        parts = [self._build(np.asarray(indices[start : start + chunk], np.int64)) for start in range(0, len(indices), chunk)]
        images, truth, distractor = (
            torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*(parts or [self._build(np.empty(0, np.int64))]), strict=True)
        )
        numbers = self._own[np.asarray(indices, np.int64)]
        return Batch(
            images=images.to(torch.float32).div_(255),
            labels=torch.from_numpy(self._source.labels[numbers]),
            truth=truth[:, None],
            distractor=distractor[:, None],
            index=torch.tensor(indices, dtype=torch.int64),
            names=tuple(self._source.names[number] for number in numbers.tolist()),
        )

    def content_hash(self) -> str:
        """SHA-256 of the source digits, the builder's version and the settings; the root and the files' form do not matter."""
        truth = "" if self.truth == "ink" else f" {self.truth}"
        return hashlib.sha256(f"{_VERSION} {self.split} {self.size} {self.seed} {self._source.digest}{truth}".encode()).hexdigest()

    def source_names(self, indices: Sequence[int]) -> list[tuple[str, str]]:
        """Names of the large and of the small source digit of each item."""
        index = np.asarray(indices, np.int64)
        names = self._source.names
        large, small = self._digits(index, self._random(index, noise=0)[0])
        return [(names[own], names[other]) for own, other in zip(large.tolist(), small.tolist(), strict=True)]

    @property
    def _source(self) -> SmallDigits:
        # Not kept in the object, so that it stays small when sent to another process.
        return load_source(self._found, _PARTS[self.split])

    @cached_property
    def _found(self) -> Place:
        return find_place(self.root, _PARTS[self.split])

    @cached_property
    def _own(self) -> NDArray[np.int64]:
        """Numbers of the source digits of the split, in its order."""
        labels = self._source.labels
        order = _even_order(labels)
        cut = round(_TUNE * len(order))
        own = {"train": order, "tune": order[:cut], "test": order[cut:]}[self.split]
        if len(set(labels[own].tolist())) < 2:
            raise DataError(f"{self.place} has too few {_PARTS[self.split]} digits for hard-mnist: it needs two classes in every split")
        return own

    def _random(self, index: NDArray[np.int64], noise: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Raw words (N, HEADER) and noise bytes (N, noise): a Philox stream per item, its counter set by the index."""
        key = derive(self.seed, f"hard-mnist {self.split}")
        words = np.empty((len(index), HEADER + -(-noise // 8)), np.uint64)
        for row, number in enumerate(index.tolist()):
            words[row] = np.random.Philox(key=key, counter=[0, number, 0, 0]).random_raw(words.shape[1])
        rest = np.ascontiguousarray(words[:, HEADER:]).astype("<u8", copy=False)
        return words[:, :HEADER], rest.view(np.uint8)[:, :noise]

    def _digits(self, index: NDArray[np.int64], header: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The large digit is the split's own; the small one is drawn from the split's other classes."""
        large = self._own[index]
        own = np.sort(self._own)  # By class, as the source is.
        labels = self._source.labels
        first, last = (np.searchsorted(labels[own], labels[large], side) for side in ("left", "right"))
        drawn = below(header[:, 0], len(own) - (last - first))
        return large, own[np.where(drawn >= first, drawn + last - first, drawn)]

    def _build(self, index: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
        header, noise = self._random(index, 3 * self.size**2)
        large, small = self._digits(index, header)
        images = self._source.images
        canvas, truth, distractor = paint_mnist(self.size, images[large], images[small], header, noise)
        if self.truth == "white":
            truth = (canvas.sum(1, dtype=np.int64) >= _WHITE * 255) & ~distractor
        return canvas, truth, distractor


def _even_order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """A shuffled order of the digits; cutting it anywhere takes an equal share of every class. The same for every seed."""
    shuffled = np.argsort(np.random.Philox(key=derive(0, "hard-mnist splits")).random_raw(len(labels)), kind="stable")
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(place, kind="stable")
