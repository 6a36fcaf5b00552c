"""One process on a run folder at a time: a lock of the system's, which a dead process does not hold."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import BinaryIO

from assay.errors import DataError

__all__ = ["Lock"]


class Lock:
    """An advisory lock (flock) on a file, which stays when the lock is gone.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            DataError: Another process holds it.
            OSError: The file cannot be written.
        """
        file = self.path.open("a+b")
        if not _locked(file):
            file.seek(0)
            holder = file.read().decode(errors="replace").strip()
            file.close()
            raise DataError(f"{self.path.parent} is in use by {holder or 'another process'}; wait for it, end it, or name another folder")
        self._file = file
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        file.flush()

    def release(self) -> None:
        """Give the lock back, if it was taken."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def is_held(self) -> bool:
        """Whether some process holds the lock now."""
        if not self.path.exists():
            return False
        with self.path.open("rb") as file:
            return not _locked(file)


def _locked(file: BinaryIO) -> bool:
    import fcntl  # Here, since Windows has none, and nothing else needs it.

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
