"""Many names in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

__all__ = ["Names"]


class Names(Sequence[str]):
    """Texts in one buffer, their lengths and 8 bytes each, where a tuple of them takes some 60 bytes more.

    Args:
        names: The texts; what no encoding can hold, as in odd file names, is kept.
    """

    def __init__(self, names: Iterable[str]) -> None:
        joined, ends = bytearray(), array("q", [0])
        for name in names:
            joined += name.encode(errors="surrogateescape")
            ends.append(len(joined))
        self._joined = bytes(joined)
        self._ends = np.array(ends, np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[at] for at in range(len(self))[index]]
        at = range(len(self))[index]
        return self._joined[self._ends[at] : self._ends[at + 1]].decode(errors="surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self._joined[start:stop].decode(errors="surrogateescape") for start, stop in zip(self._ends, self._ends[1:], strict=False))
