"""Hard Digits: real handwritten digits placed as Hard MNIST places its digits, with the truth known; no download."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from assay.core.noise import derive
from assay.core.registry import check_at_least, check_choice, register
from assay.data.base import Batch, Dataset, Item
from assay.data.known import compose
from assay.data.known.glyphs import source_digits, sources

__all__ = ["HardDigits"]

_COUNTS = {"train": 8000, "val": 1000, "test": 2000}
_CHUNK_PIXELS = 2**22  # Canvas pixels built at once: bounds the builder's memory whatever the batch.
_VERSION = "hard-digits 1"  # Part of the content hash; raise it when the pictures change.


@register
class HardDigits(Dataset):
    """One large labelled digit, one small distractor digit of another class and noise stripes on a coloured canvas.

    The picture of (seed, split, index) is always the same, in any order and whatever the count. Truth masks are the
    pixels of the large digit, distractor masks the visible pixels of the small one. Placed after Hard MNIST (Bhalla,
    Srinivas, Lakkaraju, NeurIPS 2023); here at least half of the distractor's tile is always left visible.

    Attributes:
        split: `"train"`, `"val"` or `"test"`; they share no source digit.
        size: Side of the square image in pixels, at least 32.
        seed: Decides layout, colours, noise and which digits meet, not which split owns a digit.
        count: Number of items; None for 8000, 1000 and 2000.

    Raises:
        SpecError: A parameter is out of range.
    """

    split: str = "test"
    size: int = 64
    seed: int = 0
    count: int | None = None

    name = "hard-digits"
    has_truth = True
    has_distractor = True
    classes = tuple("0123456789")

    def __post_init__(self) -> None:
        check_choice(self, "split", tuple(_COUNTS))
        check_at_least(self, 32, "size")
        check_at_least(self, 1, "count")

    def __len__(self) -> int:
        return _COUNTS[self.split] if self.count is None else self.count

    def __getitem__(self, index: int) -> Item:
        return self.read([self.check_index(index)]).item(0)

    def read(self, indices: Sequence[int]) -> Batch:
        """Build the items `indices` at once, bit by bit the same as one by one."""
        chunk = max(1, _CHUNK_PIXELS // self.size**2)
        parts = [self._build(np.asarray(indices[start : start + chunk], np.int64)) for start in range(0, len(indices), chunk)]
        canvas, label, truth, distractor = (
            torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*(parts or [self._build(np.empty(0, np.int64))]), strict=True)
        )
        return Batch(
            images=canvas.to(torch.float32).div_(255),
            labels=label,
            truth=truth[:, None],
            distractor=distractor[:, None],
            index=torch.tensor(indices, dtype=torch.int64),
            names=tuple(f"{self.split}-{index}" for index in indices),
        )

    def content_hash(self) -> str:
        """SHA-256 of the source digits, the builder's version and the settings."""
        images, labels = source_digits()
        settings = f"{_VERSION} {self.split} {self.size} {self.seed} {len(self)}"
        return hashlib.sha256(settings.encode() + images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()

    def source_numbers(self, indices: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of the 1797 source digits are the large and the small one of each item: two arrays (N,)."""
        header, _ = self._random(np.asarray(indices, np.int64), noise=0)
        return self._digits(np.asarray(indices, np.int64), header)

    def _random(self, index: NDArray[np.int64], noise: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Raw words (N, HEADER) and noise bytes (N, noise): a Philox stream per item, its counter set by the index."""
        key = derive(self.seed, f"hard-digits {self.split}")
        words = np.empty((len(index), compose.HEADER + -(-noise // 8)), np.uint64)
        for row, number in enumerate(index.tolist()):
            words[row] = np.random.Philox(key=key, counter=[0, number, 0, 0]).random_raw(words.shape[1])
        rest = np.ascontiguousarray(words[:, compose.HEADER :]).astype("<u8", copy=False)
        return words[:, : compose.HEADER], rest.view(np.uint8)[:, :noise]

    def _digits(self, index: NDArray[np.int64], header: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Large digits go through the split's digits in a shuffled order; small ones are drawn from the other classes."""
        own = sources(self.split)
        total = len(own.number)
        key = derive(self.seed, f"hard-digits order {self.split}")
        order = np.argsort(np.random.Philox(key=key).random_raw(total), kind="stable")
        large = order[index % total]
        first, last = own.start[own.label[large]], own.start[own.label[large] + 1]
        drawn = compose.below(header[:, 0], total - (last - first))
        small = np.where(drawn >= first, drawn + last - first, drawn)
        return own.number[large], own.number[small]

    def _build(self, index: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        header, noise = self._random(index, 3 * self.size**2)
        large, small = self._digits(index, header)
        canvas, truth, distractor = compose.paint_digits(self.size, large, small, header, noise)
        return canvas, source_digits()[1][large], truth, distractor
