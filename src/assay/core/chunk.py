"""The one batching loop: work in full, even chunks that shrink and are tried again when memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor

__all__ = ["Chunks", "free_memory", "most_useful", "out_of_memory", "saved"]


_USEFUL = 1 << 26
"""Bytes of activations that are enough for a CPU."""


@dataclass
class Chunks:
    """How many images go through a model at once.

    Args:
        fixed: A chunk size set by the user, or None to find one.
        memory: Bytes that activations may take, or None for a quarter of the free memory.
    """

    fixed: int | None = None
    memory: int | None = None
    ceiling: int | None = None
    """The largest size that has not run out of memory; None until it has happened once."""

    def size(self, total: int, bytes_per_image: int, device: torch.device, most: int = 256) -> int:
        """Images per chunk for `total` images, evened out so that the last chunk is as full as the others; `most` unless fixed."""
        limit = self.fixed
        if limit is None:
            budget = self.memory if self.memory is not None else free_memory(device) // 4
            # Powers of two keep the size, and so the last bits of the results, steady while free memory fluctuates.
            limit = 1 << max(0, (budget // max(bytes_per_image, 1)).bit_length() - 1)
            limit = min(limit, most)
        if self.ceiling is not None:
            limit = min(limit, self.ceiling)
        return math.ceil(total / math.ceil(total / limit)) if total else 1

    def run(self, total: int, bytes_per_image: int, device: torch.device, step: Callable[[int, int], None], most: int = 256) -> None:
        """Call `step(start, stop)` over 0..total in chunks.

        A step that runs out of memory is called again on half the range, and the smaller size is kept, so a step must
        not store anything before its model pass is through.

        Raises:
            RuntimeError: Memory runs out for a single image.
        """
        start = 0
        while start < total:
            size = self.size(total - start, bytes_per_image, device, most)
            try:
                step(start, min(start + size, total))
            except RuntimeError as error:
                if size == 1 or not out_of_memory(error):
                    raise
                self.ceiling = size // 2
                if device.type == "cuda":
                    torch.cuda.empty_cache()
            else:
                start += size


@contextmanager
def saved(weights: Iterable[Tensor]) -> Iterator[dict[int, int]]:
    """Within, the bytes of each block of memory that is kept for a backward pass, by its address, but for the weights'."""
    own = {one.untyped_storage().data_ptr() for one in weights}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def most_useful(device: torch.device, bytes_per_image: int | None) -> int:
    """Images above which a chunk gains nothing on the device and only costs cache or memory.

    Where other work shares the processors, threads wait for each other at every layer, so small layers want many images.

    Args:
        device: Where the network runs.
        bytes_per_image: Activation memory of an image that only goes forward; None where it is not known.
    """
    if device.type != "cpu":
        return 1024 if device.type == "cuda" else 256
    if bytes_per_image is None:
        return 64
    return min(max(1 << max(0, (_USEFUL // bytes_per_image).bit_length() - 1), 16), 512)


def out_of_memory(error: BaseException) -> bool:
    """True for torch's OutOfMemoryError and for the CPU allocator's RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error)
    return "DefaultCPUAllocator" in text or "not enough memory" in text or "can't allocate memory" in text


def free_memory(device: torch.device) -> int:
    """Bytes free on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
