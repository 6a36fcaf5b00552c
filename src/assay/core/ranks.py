"""The processes of one run: their number and this one's place, from torchrun's environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import distributed

from assay.errors import AssayError, SpecError

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
        self.gather(None)

    def told(self, value: T) -> T:
        """The first process's value, in all of them."""
        return cast("T", self.gather(value if self.first else None)[0])

    def once(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, which alone does it, in all of them; see `together` for its mistakes."""
        done: list[T] = []
        with self.together():
            if self.first:
                done.append(work())
        return cast("T", self.told(done[0] if done else None))

    def gather(self, value: T) -> list[T]:
        """Every process's value, by rank, in all of them; ends this process when another has ended."""
        if self.world == 1:
            return [value]
        held: list[T | None] = [None] * self.world
        try:
            distributed.all_gather_object(held, value)
        except RuntimeError as error:
            # Whoever broke the connection has said why, and torchrun ends the others.
            raise SystemExit(1) from error
        return cast("list[T]", held)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Either all processes come out of the block well, or all end: the first with the user's mistake, the others silently.

        Raises:
            AssayError: In the first process, when some process met it in the block.
            SystemExit: In the others.
        """
        mistake: AssayError | None = None
        try:
            yield
        except AssayError as error:
            mistake = error
        found = [one for one in self.gather(mistake) if one is not None]
        if found and self.first:
            raise found[0]
        if found:
            raise SystemExit(2)


@contextmanager
def join(device: torch.device | str | None = None) -> Iterator[Ranks]:
    """Join the processes that torchrun started, for the length of the block; alone when it did not.

    Processes of one machine share its cores, unless OMP_NUM_THREADS says how many threads each takes.

    Args:
        device: What the run computes on, a GPU by default where there is one; nccl joins GPUs, gloo everything else.

    Raises:
        SpecError: The environment names a rank but not the rest of what torchrun sets.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Ranks()
        return
    try:
        found = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
        near = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    except ValueError as error:
        raise SpecError(f"RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE must be numbers, as torchrun sets them: {error}") from error
    if found.world == 1:
        yield found
        return
    if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
        raise SpecError("RANK and WORLD_SIZE are set without MASTER_ADDR and MASTER_PORT; start the processes by torchrun")
    on_gpu = torch.cuda.is_available() if device is None else torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(found.local)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // near))
    store, rank, world = next(distributed.rendezvous("env://", timeout=_PATIENCE))  # type: ignore[attr-defined]
    # torchrun's store outlives a restart of the processes, whose old addresses must not be found in it.
    attempt = f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    own = distributed.PrefixStore(attempt, store)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    distributed.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=_PATIENCE)
    try:
        yield found
    finally:
        distributed.destroy_process_group()
