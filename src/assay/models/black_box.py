"""A function of which only scores are known, as a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["BlackBox", "kind_of"]


class BlackBox(nn.Module):
    """Any function from images (N, C, H, W) to scores: it is not copied, has no gradients, and may return an array.

    Args:
        function: The function; it is handed a tensor of its own.
    """

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__).strip("<>")

    def forward(self, images: Tensor) -> Any:
        """What the function returns, arrays and lists as tensors."""
        with torch.no_grad():
            out = self.function(images.detach().clone())
        if isinstance(out, np.ndarray | list) and not any(isinstance(one, Tensor) for one in out):
            out = torch.as_tensor(np.asarray(out))
        return out.detach().to(images.device) if isinstance(out, Tensor) else out


def kind_of(net: Any) -> str:
    """What was handed in instead of a network or a function, and what to do."""
    if isinstance(net, type):
        return f"type {net.__name__}: make one, {net.__name__}(...)"
    if hasattr(net, "predict_proba"):
        return f"{type(net).__name__}: give a function, such as lambda images: model.predict_proba(images.flatten(1).numpy())"
    return type(net).__name__
