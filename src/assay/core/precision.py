"""Number formats that networks compute in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

__all__ = ["DTYPES", "AnyPrecision", "Precision", "full_products", "product_formats", "set_products", "settled"]

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
    """Set how the process multiplies float32 matrices, as `torch.set_float32_matmul_precision` does, and images in convolutions too.

    Torch by itself leaves a GPU's convolutions in TF32, which keeps 10 bits of 23, also where matrices are multiplied in float32.
    """
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"


def product_formats(device: torch.device) -> dict[str, str]:
    """What float32 matrices are multiplied in, and float32 images convolved in, by a CPU or a CUDA device; empty for others."""
    words = {"none": "float32", "ieee": "float32", "tf32": "TF32", "bf16": "bfloat16"}
    found = {kind.partition(" "): words[value] for kind, value in _formats().items()}
    return {f"float32 {of}": word for (on, _, of), word in found.items() if on == device.type}


@contextmanager
def full_products() -> Iterator[None]:
    """Within, float32 matrices and images are multiplied in float32, whatever the process is set to; a decorator too."""
    usual = _formats()
    _set_formats(dict.fromkeys(usual, "ieee"))
    try:
        yield
    finally:
        _set_formats(usual)


def _formats() -> dict[str, str]:
    """How the process is set to multiply, by device and operation, in the names of torch 2.9."""
    parts = _parts()
    if parts:
        return {kind: part.fp32_precision for kind, part in parts.items()}
    products = {"highest": "ieee", "high": "tf32", "medium": "bf16"}[torch.get_float32_matmul_precision()]
    return {"cpu products": products, "cuda products": products, "cuda convolutions": "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"}


def _set_formats(formats: dict[str, str]) -> None:
    parts = _parts()
    for kind, part in parts.items():
        part.fp32_precision = formats[kind]
    if not parts:
        torch.set_float32_matmul_precision({"ieee": "highest", "tf32": "high", "bf16": "medium"}[formats["cpu products"]])
        torch.backends.cudnn.allow_tf32 = formats["cuda convolutions"] == "tf32"


def _parts() -> dict[str, Any]:
    """Where torch keeps it since version 2.9, after which the older names raise an error for whoever used these; empty before."""
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        return {}
    return {
        "cpu products": backends.mkldnn.matmul,
        "cpu convolutions": backends.mkldnn.conv,
        "cuda products": backends.cuda.matmul,
        "cuda convolutions": backends.cudnn.conv,
    }


def _cpu_has_bfloat16() -> bool:
    # Since torch 2.9; before, whether there are vectors of 512 bits is the nearest answer.
    tell = getattr(torch.cpu, "get_capabilities", None)
    if tell is not None:
        return bool(tell().get("avx512_bf16", False))
    return torch.backends.cpu.get_cpu_capability() == "AVX512"
