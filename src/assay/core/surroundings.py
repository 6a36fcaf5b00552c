"""What the caller has switched on must not change what is computed, nor must what we need switch anything for the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils import checkpoint

__all__ = ["Alone", "undisturbed"]

_KINDS = ("cpu", "cuda")


class _Direct:
    """Stands for torch's reentrant checkpoint, and computes at once."""

    @staticmethod
    def apply(function: Callable[..., Any], _preserve: bool, *given: Any) -> Any:
        return function(*given)


def _at_once(*_given: Any, **_named: Any) -> Iterator[None]:
    """Stands for torch's other checkpoint, whose two parts run before and after the function."""
    yield


_CHECKPOINTS = {
    name: stand_in
    for name, stand_in in (
        ("CheckpointFunction", _Direct),
        ("_checkpoint_without_reentrant_generator", _at_once),
        ("_checkpoint_without_reentrant_generator_impl", _at_once),
    )
    if hasattr(checkpoint, name)
}


class _Shared:
    """Settings of the whole process: set by the first that comes in, put back by the last that goes out."""

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.dtype = torch.float32
        self.checkpoints: dict[str, Any] = {}

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.dtype = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
                self.checkpoints = {name: getattr(checkpoint, name) for name in _CHECKPOINTS}
                for name, stand_in in _CHECKPOINTS.items():
                    setattr(checkpoint, name, stand_in)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                torch.set_default_dtype(self.dtype)
                for name, usual in self.checkpoints.items():
                    setattr(checkpoint, name, usual)


_SHARED = _Shared()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Compute as if the caller had switched nothing on; all is as it was at the end. A decorator too.

    Autocast and inference mode are left (gradients stay off where they were), new tensors are float32 whatever the default is, and
    gradient checkpointing, which runs layers again where no hook expects it, computes at once. Threads may be within at the same time.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                torch.set_autocast_enabled(kind, False)
                stack.callback(torch.set_autocast_enabled, kind, True)
        stack.enter_context(_SHARED)
        yield


class Alone:
    """One thread at a time, which may enter again; not part of what is copied or pickled."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Alone], tuple[()]]:
        return Alone, ()
