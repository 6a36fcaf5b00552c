"""Number formats that networks compute in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

__all__ = ["DTYPES", "AnyPrecision", "Precision", "full_products", "settled"]

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


@contextmanager
def full_products() -> Iterator[None]:
    """Within, float32 matrices are multiplied in float32, whatever the process is set to; a decorator too."""
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(usual)


def _cpu_has_bfloat16() -> bool:
    # Since torch 2.9; before, whether there are vectors of 512 bits is the nearest answer.
    tell = getattr(torch.cpu, "get_capabilities", None)
    if tell is not None:
        return bool(tell().get("avx512_bf16", False))
    return torch.backends.cpu.get_cpu_capability() == "AVX512"
