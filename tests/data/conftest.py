"""Small files in the layouts that users have."""

import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from assay.data import CIFAR10


def picture(seed, height=32, width=32):
    """A smooth random picture, so that JPEG changes it little."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)


@pytest.fixture
def make_picture():
    return picture


@pytest.fixture
def classes_folder(tmp_path):
    """Two classes, mixed endings, with files that are no images beside them."""
    root = tmp_path / "photos"
    for seed, (label, names) in enumerate({"cat": ["b.JPG", "a.png"], "dog": ["c.jpeg", "d.PNG", "e.jpg"]}.items()):
        (root / label).mkdir(parents=True)
        for number, name in enumerate(names):
            picture(seed * 10 + number).save(root / label / name)
        (root / label / "notes.txt").write_text("no image")
        (root / label / ".hidden.png").write_bytes(b"no image")
    return root


def write_tree(root, split, count):
    for number, label in enumerate(CIFAR10.classes):
        (root / split / label).mkdir(parents=True)
        for i in range(count):
            picture(number * 100 + i).save(root / split / label / f"{i:04d}.jpg")


@pytest.fixture
def cifar_folders(tmp_path):
    """A root with `train/` and `test/` image folders, two images per class."""
    root = tmp_path / "folders"
    write_tree(root, "train", 2)
    write_tree(root, "test", 2)
    return root


@pytest.fixture
def cifar_tar(tmp_path, cifar_folders):
    """The same test images in a tar file, members out of order."""
    root = tmp_path / "tars"
    root.mkdir()
    with tarfile.open(root / "cifar10-test-half.tar", "w") as archive:
        for path in sorted((cifar_folders / "test").rglob("*"), reverse=True):
            archive.add(path, str(path.relative_to(cifar_folders)), recursive=False)
    return root


@pytest.fixture
def cifar_batches(tmp_path):
    """torchvision's layout with four images in each file."""
    root = tmp_path / "batches"
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        entry = {
            "batch_label": name,
            "labels": [(number + i) % 10 for i in range(4)],
            "data": generator.integers(0, 256, (4, 3072), dtype=np.uint8),
            "filenames": [f"picture_s_{number}{i}.png" for i in range(4)],
        }
        (folder / name).write_bytes(pickle.dumps(entry, protocol=2))
    return root
