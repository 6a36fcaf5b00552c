"""Images in memory as a run's source, some of them unreadable on purpose."""

import torch

from assay.data import Batch
from assay.data.base import Corrupt


def batch(images, labels=None, names=None, first=0):
    """The images as one batch, numbered from `first`."""
    numbers = torch.arange(first, first + len(images))
    return Batch(images, labels, None, None, numbers, tuple(names or (f"image {at}" for at in numbers.tolist())))


class Broken:
    """A source of a batch's images; `wrong` says which of its positions cannot be read, and why."""

    def __init__(self, whole, wrong=None):
        self.whole, self.wrong = whole, wrong or {}

    @property
    def indices(self):
        return self.whole.index.tolist()

    def read(self, blocks):
        for block in blocks:
            fine = [at for at in block if at not in self.wrong]
            errors = tuple(Corrupt(self.whole.names[at], self.wrong[at]) for at in block if at in self.wrong)
            parts = [None if one is None else one[fine] for one in (self.whole.labels, self.whole.truth, self.whole.distractor)]
            yield Batch(self.whole.images[fine], *parts, self.whole.index[fine], tuple(self.whole.names[at] for at in fine), errors)
