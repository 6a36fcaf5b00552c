"""Where encoded images lie: a folder tree or a tar file, both read one image at a time."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

from assay.core.progress import Progress, silent
from assay.data.base import CorruptFileError
from assay.data.names import Names
from assay.errors import DataError

__all__ = ["FILES", "SPARSE", "SUFFIXES", "FolderStore", "Store", "TarStore", "is_image", "members", "read_span"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of pictures, in any case."""
FILES = (*SUFFIXES, ".npy", ".dcm", ".dicom")
"""Endings of all files of a folder that are read as images."""
SPARSE = -1
"""What stands for the size of a member that is packed with its holes left out."""
_TELL = 1000
"""Files between two reports of progress; fewer are hashed without any."""


def is_image(name: str) -> bool:
    """Whether a file name is that of an image; hidden files are none."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


class Store(ABC):
    """Image files in a fixed order.

    Attributes:
        names: Paths within the store, with forward slashes.
    """

    names: Sequence[str]

    @abstractmethod
    def data(self, index: int) -> bytes:
        """Bytes of file `index`.

        Raises:
            CorruptFileError: The file cannot be read.
        """

    def digest(self, progress: Progress = silent) -> str:
        """SHA-256 (hex) of every name and every byte, the same for a folder and a tar file of it; reads every file."""
        whole = hashlib.sha256()
        for index, name in enumerate(self.names):
            if index % _TELL == _TELL - 1:
                progress("hashing images", index, len(self.names))
            try:
                content = hashlib.sha256(self.data(index)).digest()
            except CorruptFileError:
                content = b"unreadable"
            whole.update(name.encode(errors="surrogateescape") + b"\0" + content)
        if len(self.names) > _TELL:
            progress("hashing images", len(self.names), len(self.names))
        return whole.hexdigest()


class FolderStore(Store):
    """Files below a folder."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root = root
        self.names = names if isinstance(names, Names) else Names(names)

    def data(self, index: int) -> bytes:
        """Bytes of file `index`; see `Store.data`."""
        path = self.root / self.names[index]
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # Reading a pipe or a device would wait forever.
                raise CorruptFileError(str(path), "it is no regular file")
            return path.read_bytes()
        except OSError as error:
            raise CorruptFileError(str(path), error.strerror or str(error)) from error


class TarStore(Store):
    """Members `<folder>/<class>/<file>` of an uncompressed tar file, found once and read by their offsets."""

    def __init__(self, path: Path, folder: str) -> None:
        self.path = path
        found = path.stat()
        members = _index(str(path), found.st_size, found.st_mtime_ns)
        prefix = folder + "/"
        own = sorted((name[len(prefix) :], offset, size) for name, offset, size in members if name.startswith(prefix))
        self.names = tuple(name for name, _, _ in own)
        self._spans = tuple((offset, size) for _, offset, size in own)

    def data(self, index: int) -> bytes:
        """Bytes of member `index`; see `Store.data`."""
        offset, size = self._spans[index]
        return read_span(self.path, offset, size, self.names[index])


def read_span(path: Path, offset: int, size: int, name: str) -> bytes:
    """Some bytes of a file, which are the file `name` within it.

    Raises:
        CorruptFileError: They cannot be read, or the file ends before them.
    """
    if size == SPARSE:
        raise CorruptFileError(name, "it is packed as a sparse file; pack the tar file without --sparse")
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise CorruptFileError(name, f"{path}: {error.strerror or error}") from error
    if len(data) < size:
        raise CorruptFileError(name, f"{path} ends before it does")
    return data


def members(path: Path) -> Iterator[tuple[str, int, int, Callable[[], bytes]]]:
    """(name, offset, size, its reader) of every regular, not hidden file in a tar file, in constant memory.

    Raises:
        DataError: It is no whole, uncompressed tar file.
    """
    try:
        with tarfile.open(path, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # It would keep all it has seen, a kilobyte each.
                name = os.path.normpath(member.name)
                if member.isfile() and not PurePosixPath(name).name.startswith("."):
                    # The bytes of a sparse member do not lie together.
                    size = SPARSE if member.issparse() else member.size
                    yield name, member.offset_data, size, partial(_extract, archive, member)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"cannot read the tar file {path}: {error}; it must be a whole, uncompressed tar") from error


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        file = archive.extractfile(member)
        return b"" if file is None else file.read()
    except (tarfile.TarError, OSError, KeyError, RecursionError) as error:
        raise DataError(f"cannot read {member.name} of the tar file {archive.name!s}: {error}") from error


@lru_cache(maxsize=8)
def _index(path: str, _size: int, _changed: int) -> tuple[tuple[str, int, int], ...]:  # The key of the cache.
    """(name, offset, size) of every image in a tar file."""
    return tuple((name, start, length) for name, start, length, _ in members(Path(path)) if is_image(PurePosixPath(name).name))
