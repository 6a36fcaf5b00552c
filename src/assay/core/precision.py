"""Number formats that networks compute in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

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
    parts, whole = _products()
    if not parts and whole is not None:
        words = {"highest": "float32", "high": "TF32", "medium": "bfloat16"}
        found = {"cpu products": words[whole[0]], "cuda products": words[whole[0]], "cuda convolutions": "TF32" if whole[1] else "float32"}
    else:
        found = {kind: _word(format) for kind, format in parts.items()}
    told = {of: found.get(f"{device.type} {of}") for of in ("products", "convolutions")}
    return {f"float32 {of}": word for of, word in told.items() if word is not None}


@contextmanager
def full_products() -> Iterator[None]:
    """Within, float32 matrices and images are multiplied in float32, whatever the process is set to; a decorator too."""
    usual = _products()
    _set_products(_Products(dict.fromkeys(usual.parts, "ieee"), usual.all and ("highest", False)))
    try:
        yield
    finally:
        _set_products(usual)


class _Products(NamedTuple):
    """How the process is set to multiply float32.

    Attributes:
        parts: By device and operation, in torch's names; since version 2.9.
        all: `torch.get_float32_matmul_precision()` and `torch.backends.cudnn.allow_tf32`; None where parts were set to what these have no
            words for, so that torch raises an error for whoever asks.
    """

    parts: dict[str, str]
    all: tuple[str, bool] | None


def _products() -> _Products:
    try:
        whole = (torch.get_float32_matmul_precision(), bool(torch.backends.cudnn.allow_tf32))
    except RuntimeError:
        whole = None
    return _Products({kind: part.fp32_precision for kind, part in _parts().items()}, whole)


def _set_products(products: _Products) -> None:
    # The older way first, and alone where it says the same: torch's own code, such as its export, stands on its answers.
    if products.all is not None:
        torch.set_float32_matmul_precision(products.all[0])
        torch.backends.cudnn.allow_tf32 = products.all[1]
    for kind, part in _parts().items():
        if _word(part.fp32_precision) != _word(products.parts[kind]):
            part.fp32_precision = products.parts[kind]


def _word(format: str) -> str:
    return {"none": "float32", "ieee": "float32", "tf32": "TF32", "bf16": "bfloat16"}[format]


def _parts() -> dict[str, Any]:
    """Where torch keeps it since version 2.9; empty before."""
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        return {}
    return {
        "cpu products": backends.mkldnn.matmul,
        "cpu convolutions": backends.mkldnn.conv,
        "cuda products": backends.cuda.matmul,
        "cuda convolutions": backends.cudnn.conv,
        "cuda recurrences": backends.cudnn.rnn,
    }


def _cpu_has_bfloat16() -> bool:
    # Since torch 2.9; before, whether there are vectors of 512 bits is the nearest answer.
    tell = getattr(torch.cpu, "get_capabilities", None)
    if tell is not None:
        return bool(tell().get("avx512_bf16", False))
    return torch.backends.cpu.get_cpu_capability() == "AVX512"
