"""Number formats that networks compute in."""

from __future__ import annotations

from typing import Literal

import torch

__all__ = ["DTYPES", "AnyPrecision", "Precision", "settled"]

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


def _cpu_has_bfloat16() -> bool:
    # Since torch 2.9; before, whether there are vectors of 512 bits is the nearest answer.
    tell = getattr(torch.cpu, "get_capabilities", None)
    if tell is not None:
        return bool(tell().get("avx512_bf16", False))
    return torch.backends.cpu.get_cpu_capability() == "AVX512"
