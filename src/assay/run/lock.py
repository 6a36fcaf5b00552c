"""One process on a run folder at a time: a lock of the system's, which a dead process does not hold."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from assay.errors import DataError

__all__ = ["Lock", "held_parts", "is_part_lock"]

_HOLDER = "process "
_PART = re.compile(r"lock-part-\d+-of-\d+")
_BRIEF = ", beginning"
_GRACE, _PATIENCE, _PAUSE = 5.0, 600.0, 0.05
"""Seconds that `take(brief=True)` waits for a holder that may be there for long, and for one that is soon gone, and between two tries."""


class Lock:
    """A lock on a file, whose text names the holder; the file stays when the lock is gone.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path, blocking=False)

    def take(self, brief: bool = False) -> None:
        """Take the lock.

        Args:
            brief: It is only taken for the length of a beginning, so that others who do the same are waited for.

        Raises:
            DataError: Another process holds it.
            OSError: The file cannot be written.
        """
        holder = _text(self.path)  # Before it is tried: some systems let nobody read a locked file.
        since = time.monotonic()
        while True:
            self.path.touch()
            before = self.path.stat().st_ino
            try:
                self._lock.acquire()
            except Timeout:
                self._name_again(holder)
                held = _text(self.path) or holder or "another process"
                if brief and time.monotonic() - since < (_PATIENCE if held.endswith(_BRIEF) else _GRACE):
                    time.sleep(_PAUSE)
                    continue
                raise DataError(f"{self.path.parent} is in use by {held}; wait for it, end it, or name another folder") from None
            if self._is_at(before):
                break
            self._lock.release()  # A start that failed removed the file in between; whoever comes next would lock another.
        self.path.write_text(f"{_HOLDER}{os.getpid()} on {socket.gethostname()}{_BRIEF * brief}\n", encoding="utf-8")

    def release(self) -> None:
        """Give the lock back, if it was taken."""
        self._lock.release()

    def remove(self) -> None:
        """Give the lock back and leave no file; `take` tells a file that was removed so from its own."""
        if self._lock.is_locked:
            self.path.unlink(missing_ok=True)
            self._lock.release()

    def is_ours(self) -> bool:
        """Whether the file is such a lock's, and not somebody's of that name."""
        return self.path.is_file() and (self.path.stat().st_size == 0 or _text(self.path).startswith(_HOLDER))

    def is_held(self) -> bool:
        """Whether some process holds the lock now."""
        if not self.path.exists():
            return False
        holder = _text(self.path)
        try:
            with self._lock:
                return False
        except Timeout:
            self._name_again(holder)
            return True

    def _name_again(self, holder: str) -> None:
        """Put the holder's name back, which older filelocks wipe out where they fail to lock."""
        if holder and not _text(self.path):
            with suppress(OSError):  # Some systems let nobody write a locked file.
                self.path.write_text(f"{holder}\n", encoding="utf-8")

    def _is_at(self, inode: int) -> bool:
        try:
            return self.path.stat().st_ino == inode
        except FileNotFoundError:
            return False


def is_part_lock(path: Path) -> bool:
    """Whether a file is the lock of a part."""
    return _PART.fullmatch(path.name) is not None and Lock(path).is_ours()


def held_parts(folder: Path) -> list[Path]:
    """Locks of parts that processes hold now."""
    return [path for path in sorted(folder.glob("lock-part-*")) if is_part_lock(path) and Lock(path).is_held()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
