"""Many names in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

__all__ = ["Names"]


class Names(Sequence[str]):
    """Texts in one buffer, their lengths and 8 bytes each, where a tuple of them takes some 60 bytes more.

    Args:
        names: The texts; bytes of file names that are no text are kept as Python gives them.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._joined, self._ends = bytearray(), array("q", [0])
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """Add a name at the end."""
        self._joined += name.encode(errors="surrogateescape")
        self._ends.append(len(self._joined))

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
