"""Blocks of per-image arrays as the files of a zarr group, a chunk per block, so that processes never share a file."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import zarr
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from assay.core.order import last_of_top
from assay.errors import SpecError
from assay.run.blocks import Blocks

__all__ = ["MAPS", "Keeping", "as_kept", "check_keeping", "chunk_files", "open_maps", "write_npz"]

MAPS = "maps.zarr"
Keeping = Literal["whole", "rounded"]
"""Whether maps are kept to their last bit, or rounded to the 11 bits that half a float32 has room for."""
_BITS = 13
"""Of the 24 bits of a float32's digits, those that rounding takes."""


def check_keeping(top: float | None) -> None:
    """Raise SpecError unless `top`, where given, is a share of the pixels that leaves some and keeps some."""
    if top is not None and not 0 < top < 1:
        raise SpecError(f"keep_top must be a share of the pixels in (0, 1), not {top!r}")


def as_kept(maps: np.ndarray, keeping: Keeping, top: float | None) -> np.ndarray:
    """What is kept of maps (N, C, H, W): of `top`, where given, that share of the pixels, the largest; whole, or rounded."""
    found = maps if top is None else _of_the_top(maps, top)
    return _in_few_bits(found) if keeping == "rounded" else found


def _in_few_bits(values: np.ndarray) -> np.ndarray:
    """Float32 numbers rounded to the nearest that has 11 significant bits, ties to even: what float16 holds, without its limits of size."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    odd = (bits >> np.uint32(_BITS)) & np.uint32(1)
    near = (bits + (np.uint32((1 << _BITS - 1) - 1) + odd)) & np.uint32(~((1 << _BITS) - 1) & 0xFFFFFFFF)
    return np.where(np.isfinite(values), near.view(np.float32), values)


def _of_the_top(values: np.ndarray, top: float) -> np.ndarray:
    """Maps with zeros outside that share, by the channels' summed magnitudes; pixels that tie for its last place are all kept."""
    sizes = np.abs(values).sum(1, keepdims=True)
    flat = torch.from_numpy(sizes.reshape(len(values), -1))
    last = last_of_top(flat, max(1, round(top * flat.shape[1]))).numpy().reshape(-1, 1, 1, 1)
    return np.where(sizes < last, np.float32(0), values)


def chunk_files(arrays: Mapping[str, np.ndarray], blocks: Blocks, block: int, rounded: Collection[str] = ()) -> dict[str, bytes]:
    """The files, by path within the run folder, that hold one block of each array; rows not written yet read as NaN or -1.

    Args:
        arrays: (rows of the block, ...) of each name.
        blocks: How the images are cut.
        block: The block's number.
        rounded: Which arrays are rounded (`as_kept`): bit by bit these compress better.
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
            compressors=BloscCodec(cname="zstd", shuffle="bitshuffle") if name in rounded else "auto",
        )
        array[rows.start : rows.stop] = values
        files |= {f"{MAPS}/{name}/{file}": content for file, content in _files(held).items()}
    return files


def open_maps(folder: Path) -> dict[str, Any]:
    """The arrays of a run folder by name, in their order, to read, also while the run goes on."""
    return dict(sorted(zarr.open_group(str(folder / MAPS), mode="r").arrays()))


def write_npz(folder: Path, draft: Path, blocks: Blocks, count: int) -> None:
    """Write each array of a run's `maps.zarr`, rows without a map left out, into one compressed npz file.

    Args:
        folder: The run folder.
        draft: The file to write.
        blocks: How the images are cut.
        count: How many images have maps.

    Raises:
        OSError: The folder cannot be written.
    """
    arrays = open_maps(folder)
    targets = arrays["targets"]
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in arrays.items():
            # A ZipInfo of its own has a fixed date, so that the same maps always give the same file.
            entry = zipfile.ZipInfo(f"{key}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                head = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": (count, *array.shape[1:])}
                np.lib.format.write_array_header_1_0(file, head)
                for block in range(len(blocks)):
                    rows = slice(blocks.rows(block).start, blocks.rows(block).stop)
                    kept = np.asarray(targets[rows]) >= 0
                    if kept.any():
                        file.write(np.ascontiguousarray(np.asarray(array[rows])[kept]).tobytes())


def _files(held: Mapping[str, Any]) -> dict[str, bytes]:
    """What a store has put into the mapping that it was given, file by file."""
    return {name: content.to_bytes() for name, content in held.items()}
