"""Number formats that networks compute in."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import ContextDecorator, ExitStack
from typing import Any, Literal

import torch

__all__ = ["DTYPES", "AnyPrecision", "Precision", "full_products", "product_settings", "set_products", "settled"]

Precision = Literal["float32", "bfloat16"]
AnyPrecision = Literal["auto", "float32", "bfloat16"]
"""A precision, or "auto" for the faster one on the device."""
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def settled(precision: AnyPrecision, device: torch.device | str) -> Precision:
    """The precision; for "auto" bfloat16 where the device has instructions for it, else float32.

    Without them torch emulates bfloat16, many times slower than float32.

    Args:
        precision: What is asked for.
        device: Where the network runs.
    """
    if precision != "auto":
        return precision
    kind = torch.device(device).type
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if kind == "cuda" else kind == "cpu" and _cpu_has_bfloat16()
    return "bfloat16" if fast else "float32"


def set_products(precision: Literal["highest", "high", "medium"]) -> None:
    """Set how the process multiplies float32 matrices, as `torch.set_float32_matmul_precision` does, and a GPU's convolutions too.

    Torch by itself leaves these in TF32, which keeps 10 bits of 23, also where matrices are multiplied in float32.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of newer names, which older versions of torch lack.
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = precision != "highest"


def product_settings(device: torch.device) -> dict[str, str]:
    """What the process is set to: how float32 matrices are multiplied, in torch's words, and on a GPU how images are convolved."""
    products = _tried(torch.get_float32_matmul_precision)
    # Where the older way has no word for it, torch keeps one for each kind of device.
    told = {
        "float32 products": products if products is not None else _part("cuda" if device.type == "cuda" else "cpu", "matmul").fp32_precision
    }
    if device.type == "cuda":
        short = _tried(lambda: torch.backends.cudnn.allow_tf32)
        told["float32 convolutions"] = ("TF32" if short else "float32") if short is not None else _part("cuda", "conv").fp32_precision
    return told


class _FullProducts(ContextDecorator):
    """Sets for the first that comes in what is not so already, and puts it back when the last goes out."""

    def __init__(self) -> None:
        self.lock, self.inside, self.stack = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                _multiply_in_full(self.stack)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.stack.close()


_FULL = _FullProducts()


def full_products() -> _FullProducts:
    """Within, float32 matrices and images are multiplied in float32, whatever the process is set to; a decorator too.

    Threads may be within at the same time. Settings that say so already are not touched.
    """
    return _FULL


def _multiply_in_full(stack: ExitStack) -> None:
    backends: Any = torch.backends
    cudnn = backends.cudnn
    # In the older way wherever it answers, since torch's own code, such as its export, asks in it.
    products = _tried(torch.get_float32_matmul_precision)
    if products is None:
        _fill(stack, "cpu", "matmul")
        _fill(stack, "cuda", "matmul")
    elif products != "highest":
        torch.set_float32_matmul_precision("highest")
        stack.callback(torch.set_float32_matmul_precision, products)
    if torch.cuda.is_available():
        short = _tried(lambda: cudnn.allow_tf32)
        # What is set for all parts holds also where the older way says no.
        if short is None or getattr(backends, "fp32_precision", "none") != "none":
            _fill(stack, "cuda", "conv")
            _fill(stack, "cuda", "rnn")
        elif short:
            kept = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "benchmark_limit", "deterministic")}
            stack.enter_context(cudnn.flags(**kept, allow_tf32=False))


def _fill(stack: ExitStack, device: str, operation: str) -> None:
    part = _part(device, operation)
    usual = part.fp32_precision
    if usual not in ("none", "ieee"):
        part.fp32_precision = "ieee"
        stack.callback(_put_back, part, usual)


def _put_back(part: Any, usual: str) -> None:
    part.fp32_precision = "none"  # Which takes over what is set for all parts, now and later.
    if part.fp32_precision != usual:
        part.fp32_precision = usual


def _part(device: str, operation: str) -> Any:
    """Where torch keeps the format of an operation since version 2.9; before, the older way always answers."""
    backends: Any = torch.backends
    home = {"cpu": backends.mkldnn, "cuda": backends.cuda if operation == "matmul" else backends.cudnn}[device]
    return getattr(home, operation)


def _tried(ask: Callable[[], Any]) -> Any:
    """What torch answers in the older way, or None where parts were set to what it has no word for there, and it raises an error."""
    try:
        return ask()
    except RuntimeError:
        return None


def _cpu_has_bfloat16() -> bool:
    # Since torch 2.9; before, whether there are vectors of 512 bits is the nearest answer.
    tell = getattr(torch.cpu, "get_capabilities", None)
    if tell is not None:
        return bool(tell().get("avx512_bf16", False))
    return torch.backends.cpu.get_cpu_capability() == "AVX512"
