"""Images, labels and ground truth: the embedded Hard Digits, CIFAR-10, folders, tar files and Parquet files of images."""

from assay.data.base import Batch, Corrupt, CorruptFileError, Dataset, Item, batches, choose, read, stack
from assay.data.catalogue import load
from assay.data.cifar10 import CIFAR10
from assay.data.hard_digits import HardDigits
from assay.data.hard_mnist import HardMNIST
from assay.data.image_folder import ImageFolder
from assay.data.parquet import ParquetImages
from assay.data.tar_shards import TarShards

__all__ = [
    "CIFAR10",
    "Batch",
    "Corrupt",
    "CorruptFileError",
    "Dataset",
    "HardDigits",
    "HardMNIST",
    "ImageFolder",
    "Item",
    "ParquetImages",
    "TarShards",
    "batches",
    "choose",
    "load",
    "read",
    "stack",
]
