"""The processes of one run: their number and this one's place, from torchrun's environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from assay.errors import SpecError

__all__ = ["Ranks", "join"]

T = TypeVar("T")

_PATIENCE = timedelta(hours=6)
"""How long a rank waits for another's share, which may be much longer than its own."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among those of the run; one process is rank 0 of 1.

    Args:
        rank: 0 to world - 1.
        world: How many processes.
        local: This process's place on its own machine, which is its GPU's number.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process does what is done once: opening, merging, reporting."""
        return self.rank == 0

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """This process's part of the work, every `world`-th piece."""
        return work[self.rank :: self.world]

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.world > 1:
            distributed.barrier()

    def told(self, value: T) -> T:
        """The first process's value, in all of them."""
        if self.world == 1:
            return value
        held = [value if self.first else None]
        distributed.broadcast_object_list(held, src=0)
        return held[0]  # type: ignore[return-value]


@contextmanager
def join(device: torch.device | str | None = None) -> Iterator[Ranks]:
    """Join the processes that torchrun started, for the length of the block; alone when it did not.

    Args:
        device: What the run computes on; nccl joins GPUs, gloo everything else.

    Raises:
        SpecError: The environment names a rank but not the rest of what torchrun sets.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Ranks()
        return
    try:
        found = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
    except ValueError as error:
        raise SpecError(f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers, as torchrun sets them: {error}") from error
    if found.world == 1:
        yield found
        return
    if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
        raise SpecError("RANK and WORLD_SIZE are set without MASTER_ADDR and MASTER_PORT; start the processes by torchrun")
    on_gpu = device is not None and torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(found.local)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    try:
        yield found
    finally:
        distributed.destroy_process_group()
