"""Files that are either whole or not there, also after the power fails."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from assay.errors import DataError

__all__ = [
    "check_destination",
    "contained",
    "expanded",
    "is_draft",
    "is_full",
    "printable",
    "remove_drafts",
    "replacing",
    "sha256",
    "sync",
    "write_all",
]

_DRAFT = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.part(\.\w+)?")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside `path` that takes its place when the block ends well, and is gone otherwise.

    Raises:
        OSError: The folder cannot be written.
    """
    draft = _draft(path)
    try:
        yield draft
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def write_all(root: Path, files: Mapping[str, bytes]) -> None:
    """Write several files, named relative to `root`; none appears before all are on the disk, and all names are when this returns.

    Raises:
        OSError: Something cannot be written; then none of them appears.
    """
    folders: dict[Path, None] = {}
    drafts: dict[Path, Path] = {}
    try:
        for name, content in files.items():
            path = root / name
            _make(path.parent, root, folders)
            draft = drafts[path] = _draft(path)
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, draft in drafts.items():
            draft.replace(path)
            folders[path.parent] = None
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    for folder in folders:
        sync(folder)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows cannot, and keeps such lists in a journal of its own.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def contained() -> Iterator[None]:
    """Turn a panic of a library in Rust, which passes every `except Exception`, into an OSError: it was a damaged file's.

    Raises:
        OSError: There was one.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise OSError(f"the file is damaged: {next(iter(str(error).splitlines()), '')}") from error


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~user` put in.

    Raises:
        DataError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{path} begins with a user who has no home folder here; write the path out") from error


def printable(text: str) -> str:
    """The text with whatever steers a terminal, or is no character at all, written as an escape: names come from strangers."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text)


def remove_drafts(folder: Path) -> None:
    """Remove, at any depth, what `replacing` and `write_all` left behind when their process was killed."""
    for path in folder.rglob(".*.part*"):
        if is_draft(path.name):
            path.unlink(missing_ok=True)


def is_draft(name: str) -> bool:
    """Whether a file's name is one that `replacing` and `write_all` give to drafts."""
    return _DRAFT.fullmatch(name) is not None


def check_destination(folder: Path) -> list[str]:
    """What a folder to write holds, sorted; nothing where it is not there yet. Nothing is made or changed.

    Raises:
        DataError: It is no folder, or cannot be made or written.
    """
    try:
        held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise DataError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise DataError(f"cannot make the folder {folder}: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        frozen = hasattr(os, "statvfs") and os.statvfs(there).f_flag & os.ST_RDONLY
        what, why = "write in" if there == folder else "make", os.strerror(errno.EROFS if frozen else errno.EACCES)
        raise DataError(f"cannot {what} the folder {folder}: {why}")
    return held


def is_full(error: BaseException) -> bool:
    """Whether the disk, or the user's share of it, is full; other libraries say so only in words."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "os error 28" in str(error) or "No space left" in str(error)


def _draft(path: Path) -> Path:
    # A process number alone may be another machine's too.
    return path.with_name(f".{path.stem}.{os.getpid()}-{os.urandom(4).hex()}.part{path.suffix}")


def _make(folder: Path, root: Path, changed: dict[Path, None]) -> None:
    """Make a folder below `root`, noting the folders that got a new name in them."""
    if folder == root or folder.is_dir():
        return
    _make(folder.parent, root, changed)
    folder.mkdir(exist_ok=True)
    changed[folder.parent] = None
