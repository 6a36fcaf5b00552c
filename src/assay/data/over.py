"""Data sets that lie over another one."""

from __future__ import annotations

from abc import abstractmethod

from assay.core.progress import Progress, silent
from assay.data.base import Dataset

__all__ = ["OverDataset"]


class OverDataset(Dataset):
    """A data set made of another one's items; what it does not change is that one's.

    Attributes:
        dataset: The other one.
    """

    dataset: Dataset

    @property
    def name(self) -> str:
        """That of the images."""
        return self.dataset.name

    @property
    def split(self) -> str:
        """That of the images."""
        return self.dataset.split

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the images."""
        return self.dataset.classes

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.dataset.several

    @property
    def has_truth(self) -> bool:
        """Whether the images bring it."""
        return self.dataset.has_truth

    @property
    def has_distractor(self) -> bool:
        """Whether the images bring one."""
        return self.dataset.has_distractor

    def __len__(self) -> int:
        return len(self.dataset)

    def content_hash(self) -> str:
        """SHA-256 of the images' own hash and of what is done with them."""
        return self.hashed(silent)

    @abstractmethod
    def hashed(self, progress: Progress) -> str:
        """`content_hash`; tells how far the images' own has come."""
