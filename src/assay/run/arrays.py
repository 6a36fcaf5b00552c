"""Blocks of per-image arrays as the files of a zarr group, a chunk per block, so that processes never share a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

from assay.run.blocks import Blocks

__all__ = ["MAPS", "chunk_files", "open_maps"]

MAPS = "maps.zarr"


def chunk_files(arrays: Mapping[str, np.ndarray], blocks: Blocks, block: int) -> dict[str, bytes]:
    """The files, by path within the run folder, that hold one block of each array; rows not written yet read as NaN or -1.

    Args:
        arrays: (rows of the block, ...) of each name.
        blocks: How the images are cut.
        block: The block's number.
    """
    rows = blocks.rows(block)
    group: dict[str, Any] = {}
    zarr.create_group(MemoryStore(group))
    files = {f"{MAPS}/{name}": content for name, content in _files(group).items()}
    for name, values in arrays.items():
        # Made in memory, so that one way of writing serves all files of a run.
        held: dict[str, Any] = {}
        array = zarr.create_array(
            MemoryStore(held),
            shape=(blocks.images, *values.shape[1:]),
            chunks=(blocks.size, *values.shape[1:]),
            dtype=values.dtype,
            fill_value=np.nan if values.dtype.kind == "f" else -1,
        )
        array[rows.start : rows.stop] = values
        files |= {f"{MAPS}/{name}/{file}": content for file, content in _files(held).items()}
    return files


def open_maps(folder: Path) -> zarr.Group:
    """The arrays of a run folder, to read, also while the run goes on."""
    return zarr.open_group(str(folder / MAPS), mode="r")


def _files(held: Mapping[str, Any]) -> dict[str, bytes]:
    """What a store has put into the mapping that it was given, file by file."""
    return {name: content.to_bytes() for name, content in held.items()}
