"""Reading ahead: blocks of a data set, decoded in worker processes while the caller works."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from assay.data.base import Batch, Dataset, read
from assay.errors import AssayError, DataError

__all__ = ["read_blocks", "spare_cores"]

_AHEAD = 2
"""Blocks that each worker keeps ready: one being taken, one being made."""
_MOST = 8
"""Processes at the most that are started unasked, since each keeps batches in memory."""
_WORTH = 15.0
"""Seconds of reading below which worker processes, which take seconds to start, are left out."""
_SHARE = 0.5
"""Reading's time, as a share of the caller's, below which overlapping the two gains less than the cores that it takes from a model."""


def read_blocks(dataset: Dataset, blocks: Iterable[Sequence[int]], workers: int | None = None) -> Iterator[Batch]:
    """Read one batch per block of image numbers, in order, in constant memory.

    The batches are the same for any number of workers. Files that cannot be read are listed in their batch's `errors`.

    Args:
        dataset: The images.
        blocks: Image numbers of each batch.
        workers: Processes that read ahead; 0 reads in this one. None reads here where the whole takes seconds or the caller's
            own work on a batch far longer; otherwise in as many processes as keep up with that work, eight and `spare_cores()` at most.

    Raises:
        IndexRangeError: There is no such image.
        DataError: The images have different sizes, or a worker process died.
    """
    left = list(blocks)
    if workers is None:
        # The first read may open files and fill caches, so the second is the one that tells.
        for _ in range(min(2, len(left))):
            block = left.pop(0)
            began = time.perf_counter()
            batch = read(dataset, block)
            took = time.perf_counter() - began
            yield batch
            away = time.perf_counter() - began - took
        workers = _enough(took, away) if left and took * len(left) > _WORTH and took > _SHARE * away else 0
    if not workers or not left:
        for block in left:
            yield read(dataset, block)
        return
    yield from _read_ahead(dataset, left, min(workers, len(left)))


def spare_cores() -> int:
    """Cores of this process's share of the machine that the model can spare for reading: all but one."""
    mine = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0, mine - 1)


def _enough(took: float, away: float) -> int:
    """Processes that read batches as fast as the caller works on them, as far as cores and memory allow."""
    most = min(_MOST, spare_cores())
    return most if took >= most * away else math.ceil(took / away)


def _read_ahead(dataset: Dataset, blocks: Sequence[Sequence[int]], workers: int) -> Iterator[Batch]:
    loader: DataLoader[_Sent] = DataLoader(
        _Blocks(dataset),
        sampler=blocks,
        batch_size=None,
        collate_fn=_same,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        multiprocessing_context=_context(),
        worker_init_fn=_end_with_reader,
        generator=torch.Generator(),  # Without its own, the loader draws from the global one.
    )
    received = iter(loader)
    while True:
        try:
            sent = next(received)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker (pid" not in str(error):
                raise
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"a process that reads {dataset.name} ended early ({reason}); try fewer workers, or 0") from error
        yield sent.open()


def _context() -> BaseContext:
    """How workers start: from a clean process that has imported this package once for all of them.

    Not by fork, which copies the locks of torch's and polars's threads without the threads, and may wait for ever.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@dataclass(frozen=True, eq=False)
class _Sent:
    """What a worker sends: a batch, its images as bytes where they are, or the user's mistake that it met."""

    batch: Batch | None
    mistake: AssayError | None = None

    def open(self) -> Batch:
        if self.mistake is not None:
            raise self.mistake
        assert self.batch is not None
        images = self.batch.images
        return replace(self.batch, images=_pixels(images)) if images.dtype == torch.uint8 else self.batch


def _packed(images: Tensor) -> Tensor:
    """The images as bytes, a quarter of the shared memory, which containers have little of; as they are where bytes would lose."""
    packed = torch.empty(images.shape, dtype=torch.uint8)
    for image, row in zip(images, packed, strict=True):  # One by one, within the cache.
        row.copy_(image.mul(255).round_())
        if not torch.equal(_pixels(row), image):
            return images
    return packed


def _pixels(bytes_: Tensor) -> Tensor:
    return bytes_.to(torch.float32).div_(255)


class _Blocks(TorchDataset[_Sent]):
    """A data set whose items are blocks of images."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, block: Sequence[int]) -> _Sent:
        try:
            batch = read(self.dataset, block)
            return _Sent(replace(batch, images=_packed(batch.images)))
        except AssayError as error:
            # A raised error would come out as text with the worker's traceback.
            return _Sent(None, error)


def _end_with_reader(_: int) -> None:
    """End this worker when the process that reads from it is gone, even killed.

    torch's own watch is on the process that started the worker, which is the clean one here and waits for its workers.
    """
    reader = multiprocessing.parent_process()

    def watch() -> None:
        if reader is not None:
            reader.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _same(sent: Any) -> Any:
    return sent
