"""CelebA faces by hair colour, with glasses that go with one colour: the DiET paper's spurious correlation."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from assay.core.noise import derive
from assay.core.progress import Progress, silent
from assay.core.registry import check_at_least, check_choice, register
from assay.data.base import Dataset, Item
from assay.data.files.decode import decode
from assay.data.files.store import FolderStore
from assay.data.known.celeba_files import find_masks, read_attributes, read_mask, read_partition
from assay.data.root import data_root
from assay.data.squash import squash
from assay.errors import DataError, SpecError

__all__ = ["CelebA"]

_HAIR = ("black", "blond", "brown", "gray")
_PARTS = ("train", "val", "test")
_TRAIN_SHARE = 0.8
_GET = (
    "get img_align_celeba, list_attr_celeba.txt and list_eval_partition.txt from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html "
    "or by torchvision.datasets.CelebA(folder, download=True)"
)
_VERSION = "celeba 1"  # Part of the content hash; raise it when the choice of images changes.


@register
class CelebA(Dataset):
    """CelebA (Liu et al., ICCV 2015) for hair colour, as in Bhalla, Srinivas, Lakkaraju (NeurIPS 2023).

    An image belongs to a class when it has that hair colour and none of the other colours that CelebA knows (black, blond,
    brown, gray); all others are left out. In the correlated part the people of one class wear glasses and all others none, in
    the reversed part it is the other way round. Images become square by resizing. Sorted by file name.

    Looked for in `celeba`, in `CelebA` and in the root itself: `img_align_celeba/*.jpg`, `list_attr_celeba.txt`, and for the
    official partition `list_eval_partition.txt`.

    Attributes:
        split: `"train"`, `"test"`, or `"val"` of the official partition.
        size: Side of the square image in pixels, at least 32.
        glasses: `"correlated"`, `"reversed"`, or `"any"` for all images.
        hair: The classes, of "black", "blond", "brown" and "gray". The authors' code has ("blond", "gray", "black").
        wears: The class that wears glasses in the correlated part.
        per_class: Images kept of each class, chosen by the seed; None for all. The authors keep 2000 to train and 500 to test.
        partition: `"random"` (80 % train, 20 % test, by the seed) or `"official"`.
        masks: Folder that holds `<number>_hair.png` (white hair on black, of the image's own frame) for the image of that
            number; images without such a mask are left out. The masks are the truth. None for no masks.
        seed: Decides the random partition and which images `per_class` keeps.
        root: Folder to look in; None for that of the environment variable ASSAY_DATA.

    Raises:
        SpecError: A parameter is out of range.
        DataError: Files are missing or damaged, or a class has too few images.
    """

    split: str = "test"
    size: int = 224
    glasses: str = "correlated"
    hair: tuple[str, ...] = ("black", "blond", "brown")
    wears: str = "black"
    per_class: int | None = None
    partition: str = "random"
    masks: str | None = None
    seed: int = 0
    root: str | None = None

    name = "celeba"

    def __post_init__(self) -> None:
        check_choice(self, "partition", ("random", "official"))
        check_choice(self, "split", _PARTS if self.partition == "official" else ("train", "test"))
        check_at_least(self, 32, "size")
        check_choice(self, "glasses", ("correlated", "reversed", "any"))
        if len(self.hair) < 2 or len(set(self.hair)) < len(self.hair) or not set(self.hair) <= set(_HAIR):
            raise SpecError(f"CelebA: hair must be two or more different colours of {', '.join(_HAIR)}, not {self.hair!r}")
        check_choice(self, "wears", self.hair)
        check_at_least(self, 1, "per_class")
        _ = self._chosen  # Complain of missing files now rather than later.

    @property
    def classes(self) -> tuple[str, ...]:
        """The hair colours."""
        return self.hair

    @property
    def has_truth(self) -> bool:
        """Whether there are hair masks."""
        return self.masks is not None

    def __len__(self) -> int:
        return len(self._chosen[1])

    def __getitem__(self, index: int) -> Item:
        index = self.check_index(index)
        store, labels = self._chosen
        name = store.names[index]
        image = squash(decode(store.data(index), f"{store.root}/{name}"), self.size)
        return Item(image, int(labels[index]), index, name, self._hair_of(name))

    @property
    def place(self) -> Path:
        """The folder that the images come from."""
        return self._chosen[0].root

    def content_hash(self) -> str:
        """SHA-256 of the settings and of the names, labels and bytes of all images and masks."""
        return self.hashed(silent)

    def hashed(self, progress: Progress) -> str:
        """`content_hash`; reads every file, but once only."""
        kept = vars(self)
        if "_digest" not in kept:
            store, labels = self._chosen
            whole = hashlib.sha256(f"{store.digest(progress)} {labels.tolist()}".encode())
            for path in (self._hair_masks[_number(name)] for name in store.names) if self.masks else ():
                whole.update(hashlib.sha256(read_mask(path)).digest())
            kept["_digest"] = whole.hexdigest()
        return hashlib.sha256(f"{_VERSION} {self.split} {self.size} {self.hair} {kept['_digest']}".encode()).hexdigest()

    def _hair_of(self, name: str) -> Tensor | None:
        if self.masks is None:
            return None
        path = self._hair_masks[_number(name)]
        return squash(decode(read_mask(path), str(path)), self.size)[:1] >= 0.5

    @cached_property
    def _hair_masks(self) -> dict[int, Path]:
        return {} if self.masks is None else find_masks(self.masks)

    @cached_property
    def _chosen(self) -> tuple[FolderStore, NDArray[np.int64]]:
        """The images of the split and their labels."""
        folder = _find(data_root(self.root, "celeba", _GET))
        attributes = ("Eyeglasses", *(f"{colour.capitalize()}_Hair" for colour in _HAIR))
        names, values = read_attributes(folder / "list_attr_celeba.txt", attributes)
        glasses, hair = values[:, 0], values[:, 1:]
        wanted = hair[:, [_HAIR.index(colour) for colour in self.hair]]
        usable = np.flatnonzero((hair.sum(1) == 1) & wanted.any(1))
        usable = usable[self._in_split(folder, usable, names)]
        labels = wanted[usable].argmax(1)
        if self.glasses != "any":
            right = glasses[usable] == ((labels == self.hair.index(self.wears)) == (self.glasses == "correlated"))
            usable, labels = usable[right], labels[right]
        if self.masks is not None:
            masked = np.array([_number(names[row]) in self._hair_masks for row in usable.tolist()], np.bool_)
            usable, labels = usable[masked], labels[masked]
        kept = self._keep(labels)
        rows = sorted(kept.tolist(), key=lambda at: names[usable[at]])
        return FolderStore(folder / "img_align_celeba", [names[usable[at]] for at in rows]), labels[rows].astype(np.int64)

    def _in_split(self, folder: Path, usable: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which images of one hair colour are the split's; glasses do not matter, so that no part of it meets another."""
        if self.partition == "official":
            parts = read_partition(folder / "list_eval_partition.txt")
            wanted = _PARTS.index(self.split)
            return np.array([parts.get(names[row]) == wanted for row in usable.tolist()], np.bool_)
        order = np.argsort(np.random.Philox(key=derive(self.seed, "celeba splits")).random_raw(len(usable)), kind="stable")
        train = np.zeros(len(usable), np.bool_)
        train[order[: round(_TRAIN_SHARE * len(usable))]] = True
        return train if self.split == "train" else ~train

    def _keep(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the images that `per_class` keeps."""
        order = np.argsort(np.random.Philox(key=derive(self.seed, "celeba per class")).random_raw(len(labels)), kind="stable")
        kept = []
        for number, colour in enumerate(self.hair):
            own = order[labels[order] == number]
            if len(own) < (self.per_class or 1):
                raise DataError(f"CelebA {self.split} ({self.glasses} glasses) has {len(own)} images of {colour} hair: {self._remedy()}")
            kept.append(own[: self.per_class])
        return np.concatenate(kept)

    def _remedy(self) -> str:
        return f"{self.per_class} are asked for by per_class" if self.per_class else f"every class needs one; {_GET}"


def _find(root: Path) -> Path:
    for folder in (root / "celeba", root / "CelebA", root):
        if (folder / "img_align_celeba").is_dir() and (folder / "list_attr_celeba.txt").is_file():
            return folder
    raise DataError(
        f"there is no CelebA in {root}: looked for img_align_celeba and list_attr_celeba.txt there and in its folder celeba; {_GET}"
    )


def _number(name: str) -> int:
    stem = name.split(".")[0]
    return int(stem) if stem.isdecimal() else -1
