"""Chest X-rays of children, with or without pneumonia, and with the DiET paper's semi-synthetic tag."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import torch

from assay.core.noise import derive
from assay.core.progress import Progress, silent
from assay.core.registry import check_at_least, check_choice, check_positive, register
from assay.data.base import Dataset, Item
from assay.data.files.decode import decode
from assay.data.files.image_folder import scan_classes
from assay.data.files.store import FolderStore, Store, TarStore
from assay.data.root import data_root
from assay.data.squash import squash
from assay.data.truth.plant_marks import PLACES, NoisePatch
from assay.errors import DataError, SpecError

__all__ = ["ChestXray"]

_GET = (
    "get `chest-xray-pneumonia` by Paul Mooney from Kaggle (https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia) "
    "and unpack it there"
)
_VERSION = "chest-xray 1"  # Part of the content hash; raise it when the pictures change.
_PAPER_SIZE = 224


@register
class ChestXray(Dataset):
    """Paediatric chest X-rays (Kermany et al., Cell 2018): class NORMAL or PNEUMONIA; grey, in three equal channels.

    With `tag`, the images of that class bear a square of Gaussian noise, as in Bhalla, Srinivas, Lakkaraju (NeurIPS 2023);
    truth masks are the tag's pixels (nothing on images without). A network trained on images with the tag on one class is
    tested on the same (`tag="NORMAL"`) and on the reverse (`tag="PNEUMONIA"`). Images become square by resizing.

    Looked for below the root in this order: `chest_xray/<split>/<class>/*`, `<split>/<class>/*`, `chest_xray.tar` with the
    same tree. Files are sorted by class, then by name.

    Attributes:
        split: `"train"`, `"val"` or `"test"`.
        size: Side of the square image in pixels, at least 32.
        tag: Class whose images bear the tag; None for untouched images.
        strength: Standard deviation of the tag's noise as a share of the image's range.
        tag_size: Side of the tag in pixels of a 224 x 224 image; it scales with `size`.
        tag_place: Where the tag lies: "cycle" (columns of the top row in turn, by the image's number), "random", or a corner.
        seed: Decides the noise and random places.
        root: Folder to look in; None for that of the environment variable ASSAY_DATA.

    Raises:
        SpecError: A parameter is out of range.
        DataError: There are no such images below the root.
    """

    split: str = "test"
    size: int = _PAPER_SIZE
    tag: str | None = None
    strength: float = 0.05
    tag_size: int = 16
    tag_place: str = "cycle"
    seed: int = 0
    root: str | None = None

    name = "chest-xray"
    classes = ("NORMAL", "PNEUMONIA")

    def __post_init__(self) -> None:
        check_choice(self, "split", ("train", "val", "test"))
        check_at_least(self, 32, "size")
        if self.tag is not None:
            check_choice(self, "tag", self.classes)
        check_positive(self, "strength")
        check_at_least(self, 1, "tag_size")
        if self.tag_size > _PAPER_SIZE:
            raise SpecError(f"ChestXray: tag_size must be at most {_PAPER_SIZE}, the side of the whole image, not {self.tag_size}")
        check_choice(self, "tag_place", PLACES)
        _ = self._found  # Complain of missing files now rather than later.

    @property
    def has_truth(self) -> bool:
        """Whether there is a tag, whose pixels are the truth."""
        return self.tag is not None

    def __len__(self) -> int:
        return len(self._found[1].names)

    def __getitem__(self, index: int) -> Item:
        index = self.check_index(index)
        place, store = self._found
        name = store.names[index]
        label = self.classes.index(name.split("/")[0])
        image = squash(decode(store.data(index), f"{place}/{name}"), self.size)
        if self.tag is None:
            return Item(image, label, index, name)
        truth = torch.zeros(1, self.size, self.size, dtype=torch.bool)
        if self.tag == self.classes[label]:
            number, kind = torch.tensor([index]), torch.tensor([label])
            images, masks = self._mark.draw(image[None], kind, len(self.classes), number, derive(self.seed, f"chest-xray {self.split}"))
            image, truth = images[0], masks[0]
        return Item(image, label, index, name, truth)

    @property
    def place(self) -> Path:
        """The folder or tar file that the images come from."""
        return self._found[0]

    def content_hash(self) -> str:
        """SHA-256 of the settings and of the names and bytes of all files; equal for a folder and a tar file of it."""
        return self.hashed(silent)

    def hashed(self, progress: Progress) -> str:
        """`content_hash`; reads every file, but once only."""
        kept = vars(self)
        if "_digest" not in kept:
            kept["_digest"] = self._found[1].digest(progress)
        tag = f"{self.tag} {float(self.strength)} {self.tag_size} {self.tag_place} {self.seed}" if self.tag else "no tag"
        return hashlib.sha256(f"{_VERSION} {self.split} {self.size} {tag} {kept['_digest']}".encode()).hexdigest()

    @cached_property
    def _mark(self) -> NoisePatch:
        return NoisePatch(max(1, round(self.tag_size * self.size / _PAPER_SIZE)), self.strength, self.tag_place)

    @cached_property
    def _found(self) -> tuple[Path, Store]:
        root = data_root(self.root, "chest-xray", _GET)
        for folder in (root / "chest_xray" / self.split, root / self.split):
            if (folder / self.classes[0]).is_dir():
                classes, names = scan_classes(folder)
                self._check_classes(folder, classes)
                return folder, FolderStore(folder, names)
        tar = root / "chest_xray.tar"
        if tar.is_file():
            store = TarStore(tar, f"chest_xray/{self.split}")
            self._check_classes(tar, tuple(sorted({name.split("/")[0] for name in store.names})))
            return tar, store
        raise DataError(
            f"there are no chest X-rays of the {self.split} split in {root}: looked for chest_xray/{self.split}/{self.classes[0]}, "
            f"{self.split}/{self.classes[0]} and chest_xray.tar; {_GET}"
        )

    def _check_classes(self, place: Path, found: tuple[str, ...]) -> None:
        if found != self.classes:
            raise DataError(
                f"{place} does not have the two class folders {' and '.join(self.classes)} for the {self.split} split, "
                f"but {', '.join(found) or 'none'}; {_GET}"
            )
