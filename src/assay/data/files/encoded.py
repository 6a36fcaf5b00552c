"""What all collections of encoded images share: lazy decoding to one size, and complaints that name the image."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property

from assay.core.progress import Progress, silent
from assay.data.base import CorruptFileError, Dataset, Item
from assay.data.files.decode import decode
from assay.data.files.reading import AS_IT_IS, Reading
from assay.errors import DataError

__all__ = ["Encoded"]


class Encoded(Dataset):
    """Your own images, as encoded files, whatever holds them; subclasses are registered and say where the bytes lie.

    Attributes:
        path: What holds the images.
        size: Resize the shorter side to this many pixels and cut the centre square; None takes the images as they are,
            which must then have one size.
        reading: What else is done to each picture: another resize and crop, grey, the range of the values.
    """

    path: str
    size: int | None
    reading: Reading
    split = "all"

    @abstractmethod
    def title(self, index: int) -> str:
        """Name of image `index` within the data set."""

    @abstractmethod
    def encoded(self, index: int) -> bytes:
        """The file of image `index`.

        Raises:
            CorruptFileError: It cannot be read.
        """

    @abstractmethod
    def label_of(self, index: int) -> int | tuple[int, ...] | None:
        """Class number of image `index`, several as `Item.label` has them, or None when nobody knows."""

    @abstractmethod
    def digest(self, progress: Progress) -> str:
        """SHA-256 (hex) of all names, bytes and labels, found by reading them once."""

    def __getitem__(self, index: int) -> Item:
        index = self.check_index(index)
        image = decode(self.encoded(index), self.place(index), self.size, self.reading)
        if not self._one_size and tuple(image.shape) != self._shape:
            raise DataError(
                f"the images of {self.path} have different sizes: {self.title(index)} is {_pixels(tuple(image.shape))}, "
                f"others are {_pixels(self._shape)}; give size=, such as size=224 (--size 224), to resize and crop all of them"
            )
        return Item(image, self.label_of(index), index, self.title(index))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of further columns of pictures, such as masks; none where images have no columns."""
        return ()

    def beside(self, column: str, index: int) -> bytes | None:
        """The file in one of `columns` for image `index`; None where there is none.

        Raises:
            CorruptFileError: It cannot be read.
        """
        raise DataError(f"{self.path} has no column {column!r} beside image {index}")

    def place(self, index: int) -> str:
        """How errors name image `index`."""
        return f"{self.path}/{self.title(index)}"

    def content_hash(self) -> str:
        """SHA-256 of the names, bytes and labels of all images, and of `size`; where they lie does not matter."""
        return self.hashed(silent)

    def hashed(self, progress: Progress) -> str:
        """`content_hash`; reads every byte, but once only."""
        kept = vars(self)
        if "_hash" not in kept:
            how = f"size={self.size}" + ("" if self.reading == AS_IT_IS else f" {self.reading!r}")
            kept["_hash"] = hashlib.sha256(f"{self.digest(progress)} {how}".encode()).hexdigest()
        return str(kept["_hash"])

    @property
    def _one_size(self) -> bool:
        """Whether all pictures are brought to one size."""
        return self.size is not None or self.reading.crop is not None or isinstance(self.reading.resize, tuple)

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files of each ending lie among the images and are none; empty where there are none or nobody looked."""
        return {}

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        """Shape of the first image that can be read, which all others must have."""
        first = ""
        for index in range(len(self)):
            try:
                return tuple(decode(self.encoded(index), self.place(index), self.size, self.reading).shape)
            except CorruptFileError as error:
                first = first or str(error)
        raise DataError(f"none of the {len(self)} images of {self.path} can be read; {first}")


def _pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]}"
