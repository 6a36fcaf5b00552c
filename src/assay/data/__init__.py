"""Images, labels and ground truth: built-in and public data sets, your own images, and marks planted into any of them."""

from assay.data.annotated import Annotated
from assay.data.base import Batch, Corrupt, CorruptFileError, Dataset, Item, batches, choose, read, stack
from assay.data.catalogue import load
from assay.data.celeba import CelebA
from assay.data.chest_xray import ChestXray
from assay.data.cifar10 import CIFAR10
from assay.data.convert import as_batch
from assay.data.hard_digits import HardDigits
from assay.data.hard_mnist import HardMNIST
from assay.data.image_folder import ImageFolder
from assay.data.mosaic import Mosaic
from assay.data.parquet import ParquetImages
from assay.data.plant import Planted, plant
from assay.data.plant_marks import Glyph, Mark, NoisePatch, Patch, Stripe
from assay.data.reading import Reading
from assay.data.tar_shards import TarShards

__all__ = [
    "CIFAR10",
    "Annotated",
    "Batch",
    "CelebA",
    "ChestXray",
    "Corrupt",
    "CorruptFileError",
    "Dataset",
    "Glyph",
    "HardDigits",
    "HardMNIST",
    "ImageFolder",
    "Item",
    "Mark",
    "Mosaic",
    "NoisePatch",
    "ParquetImages",
    "Patch",
    "Planted",
    "Reading",
    "Stripe",
    "TarShards",
    "as_batch",
    "batches",
    "choose",
    "load",
    "plant",
    "read",
    "stack",
]
