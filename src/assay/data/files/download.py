"""Fetching data sets that may be fetched."""

from __future__ import annotations

from pathlib import Path

from assay.data.known.cifar10 import CIFAR10
from assay.errors import DataError

__all__ = ["download_cifar10"]


def download_cifar10(root: Path) -> Path:
    """Fetch CIFAR-10 (about 170 MB) from its home through torchvision, which checks it, and unpack it below `root`.

    Returns:
        The folder of the data.

    Raises:
        DataError: There is no network, the download is damaged, or `root` cannot be written.
    """
    from torchvision import datasets  # Here, because the import takes a second.

    try:
        root.mkdir(parents=True, exist_ok=True)
        datasets.CIFAR10(str(root), train=True, download=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"could not download CIFAR-10 into {root}: {reason}; check the network and the folder, or put cifar-10-batches-py there by hand"
        ) from error
    return CIFAR10("train", str(root)).place
