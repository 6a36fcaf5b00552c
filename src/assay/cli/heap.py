"""How the C library keeps memory that was freed."""

from __future__ import annotations

import ctypes
import os
import platform

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of what is set, from glibc's malloc.h."""
_ASKED = frozenset(
    {"GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_"}
)
"""By which users tell malloc what to do."""


def keep_freed_memory() -> bool:
    """Let glibc keep the memory of large tensors when they are freed, for the next ones; it would give it back and take it again.

    Each chunk of an explanation frees what the next one needs. Taking it from the system anew costs a page fault for every 4 KiB.

    Returns:
        Whether it was set: on Linux with glibc, where the environment says nothing of malloc.
    """
    if _ASKED & os.environ.keys() or platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(name, value) == 1 for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)))
