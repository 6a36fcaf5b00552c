"""CIFAR-10 in the three forms that people have it: torchvision's batches, image folders, tar files of such folders."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

from assay.core.registry import check_choice, register
from assay.data.base import Dataset, Item
from assay.data.files.decode import decode
from assay.data.files.image_folder import scan_classes
from assay.data.files.store import FolderStore, Store, TarStore
from assay.data.known.cifar10_batches import BatchesStore, find_batches
from assay.data.root import data_root
from assay.errors import DataError

__all__ = ["CIFAR10"]

_SIDE = 32


@register
class CIFAR10(Dataset):
    """CIFAR-10 (Krizhevsky 2009), 32 x 32, read when asked for.

    Looked for below the root in this order: `cifar-10-batches-py` (torchvision's own layout), `<split>/<class>/*` and
    `cifar10/<split>/<class>/*` (image folders), `cifar10-<split>*.tar` (tar files of `<split>/<class>/*`). Files of folders
    and tars are sorted by class, then by name; torchvision's batches keep their own order.

    Attributes:
        split: `"train"` or `"test"`.
        root: Folder to look in; None for that of the environment variable ASSAY_DATA.

    Raises:
        SpecError: Another split is asked for.
        DataError: There is no CIFAR-10 below the root, or it is incomplete.
    """

    split: str = "test"
    root: str | None = None

    name = "cifar10"
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __post_init__(self) -> None:
        check_choice(self, "split", ("train", "test"))
        _ = self._found  # Complain of missing files now rather than later.

    def __len__(self) -> int:
        return len(self._found[1].names)

    def __getitem__(self, index: int) -> Item:
        index = self.check_index(index)
        place, store = self._found
        name = store.names[index]
        if isinstance(store, BatchesStore):
            return Item(store.image(index), store.labels[index], index, name)
        image = decode(store.data(index), f"{place}/{name}")
        if image.shape[1:] != (_SIDE, _SIDE):
            raise DataError(f"{place}/{name} is {image.shape[2]} x {image.shape[1]} pixels; images of CIFAR-10 are {_SIDE} x {_SIDE}")
        return Item(image, self.classes.index(name.split("/")[0]), index, name)

    @property
    def place(self) -> Path:
        """The folder or tar file that the images come from."""
        return self._found[0]

    def content_hash(self) -> str:
        """SHA-256 of the split and of the names and bytes of all files; equal for image folders and a tar file of them."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        return hashlib.sha256(f"cifar10 {self.split} {self._found[1].digest()}".encode()).hexdigest()

    @cached_property
    def _found(self) -> tuple[Path, Store]:
        root = data_root(self.root, "cifar10")
        batches = find_batches(root, self.split)
        if batches is not None:
            return batches.root, batches
        for folder in (root / self.split, root / "cifar10" / self.split):
            if (folder / self.classes[0]).is_dir():
                classes, names = scan_classes(folder)
                self._check_classes(folder, classes)
                return folder, FolderStore(folder, names)
        for path in sorted(root.glob(f"cifar10-{self.split}*.tar"), key=lambda path: (len(path.name), path.name)):
            store = TarStore(path, self.split)
            self._check_classes(path, tuple(sorted({name.split("/")[0] for name in store.names})))
            return path, store
        raise DataError(
            f"there is no CIFAR-10 {self.split} split in {root}: looked for cifar-10-batches-py, {self.split}/<class>, "
            f"cifar10/{self.split}/<class> and cifar10-{self.split}*.tar; get it by `assay data download cifar10 --root {root}`"
        )

    def _check_classes(self, place: Path, found: tuple[str, ...]) -> None:
        if found != self.classes:
            odd = sorted(set(found) ^ set(self.classes))
            raise DataError(
                f"{place} does not have the ten class folders of CIFAR-10 below {self.split}/: {', '.join(odd)} missing or too many"
            )
