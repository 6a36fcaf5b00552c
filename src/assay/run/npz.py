"""The maps of a run as one npz file, in memory that does not grow with the images."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from assay.run.arrays import open_maps
from assay.run.blocks import Blocks

__all__ = ["write_npz"]


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
    group = open_maps(folder)
    arrays = dict(sorted(group.arrays()))
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
