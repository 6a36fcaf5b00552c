"""Images, labels and ground truth: built-in and public data sets, your own images, and marks planted into any of them."""

from assay.data.base import Batch, Corrupt, CorruptFileError, Dataset, Item, batches, choose, read, stack
from assay.data.catalogue import load
from assay.data.files.convert import as_batch
from assay.data.files.hub import HubImages
from assay.data.files.image_folder import ImageFolder
from assay.data.files.parquet import ParquetImages
from assay.data.files.reading import Reading
from assay.data.files.tar_shards import TarShards
from assay.data.known.celeba import CelebA
from assay.data.known.chest_xray import ChestXray
from assay.data.known.cifar10 import CIFAR10
from assay.data.known.hard_digits import HardDigits
from assay.data.known.hard_mnist import HardMNIST
from assay.data.truth.annotated import Annotated
from assay.data.truth.mosaic import Mosaic
from assay.data.truth.plant import Planted, plant
from assay.data.truth.plant_marks import Glyph, Mark, NoisePatch, Patch, Stripe

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
    "HubImages",
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
