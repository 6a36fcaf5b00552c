"""Images in tar files: webdataset's shards, or class folders packed as they are."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from assay.core.progress import Progress
from assay.core.registry import check_at_least, register
from assay.core.whole_files import expanded
from assay.data.files.encoded import Encoded
from assay.data.files.reading import AS_IT_IS, Reading
from assay.data.files.shards import digest, find_shards
from assay.data.files.store import read_span
from assay.data.files.tar_index import TarIndex, index_tars

__all__ = ["TarShards"]


@register
class TarShards(Encoded):
    """Images of one or many uncompressed tar files, read by their offsets, which one pass over the headers finds.

    Labels come from `<key>.cls` or `<key>.json` (its `label`, `cls` or `class`) beside `<key>.jpg|jpeg|png`, as
    webdataset lays them out: class numbers, or class names, which are numbered in the order of the alphabet. Without
    such files the folders that the images lie in are the classes; images of one folder have no labels. The order is that
    of the files' names and of their members. An image takes 24 bytes of memory and its name.

    Attributes:
        path: A tar file, a folder of tar files, or a pattern such as `part-{000..099}.tar` or `part-*.tar`.
        size: Resize the shorter side to this many pixels and cut the centre square; None takes the images as they are.
        folder: Take only members below this folder of the tar files.
        reading: What else is done to each picture; see `Reading`.

    Raises:
        DataError: There are no tar files or no images in them, one is damaged, or a label cannot be read.
    """

    path: str
    size: int | None = None
    folder: str = ""
    reading: Reading = AS_IT_IS

    def __post_init__(self) -> None:
        check_at_least(self, 1, "size")
        _ = self._index  # Complain of missing or damaged files now rather than later.

    @property
    def name(self) -> str:
        """The last part of the path."""
        return expanded(self.path).name

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; empty when there are no labels."""
        return self._index.classes

    def __len__(self) -> int:
        return len(self._index.size)

    def title(self, index: int) -> str:
        """The member's name, after that of its tar file when there are several."""
        name = self._index.names[index]
        return f"{self._shards[self._index.shard[index]].name}/{name}" if len(self._shards) > 1 else name

    def place(self, index: int) -> str:
        """The tar file's path and the member's name."""
        return f"{self._shards[self._index.shard[index]]}/{self._index.names[index]}"

    def encoded(self, index: int) -> bytes:
        """The member's bytes; see `Encoded.encoded`."""
        found = self._index
        return read_span(self._shards[found.shard[index]], int(found.offset[index]), int(found.size[index]), self.title(index))

    def label_of(self, index: int) -> int | None:
        """The image's class number; None when nobody knows."""
        known = int(self._index.label[index])
        return known if known >= 0 else None

    def digest(self, progress: Progress) -> str:
        """SHA-256 (hex) of the tar files' names and bytes, and of `folder`."""
        return f"{digest(self._shards, progress)} {self.folder}"

    @cached_property
    def _shards(self) -> tuple[Path, ...]:
        return find_shards(self.path, ".tar")

    @cached_property
    def _index(self) -> TarIndex:
        return index_tars(self._shards, self.folder)
