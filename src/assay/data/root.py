"""The folder below which downloaded data sets lie."""

from __future__ import annotations

import os
from pathlib import Path

from assay.core.whole_files import expanded
from assay.errors import DataError

__all__ = ["VARIABLE", "data_root"]

VARIABLE = "ASSAY_DATA"
"""Environment variable that names the root when none is given."""


def data_root(given: str | None, name: str, how: str | None = None) -> Path:
    """The root as a folder that exists.

    Args:
        given: A folder, or None for that of ASSAY_DATA.
        name: The data set that is wanted, for the message.
        how: How to get it; None where `assay data download` does.

    Raises:
        DataError: No root is set, or it is no folder.
    """
    chosen = given or os.environ.get(VARIABLE, "")
    if not chosen:
        raise DataError(
            f"nobody said where {name} lies: set the environment variable {VARIABLE} to the folder that holds it, or give root=; "
            + (how or f"`assay data download {name} --root FOLDER` fetches it")
        )
    root = expanded(chosen)
    if not root.is_dir():
        source = "root" if given else VARIABLE
        raise DataError(f"{source} is {chosen}, which is no folder: set it to the folder that holds {name}")
    return root
