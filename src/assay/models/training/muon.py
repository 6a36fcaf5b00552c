"""The Muon optimiser: steps of momentum made orthogonal, which reach an accuracy in far fewer epochs than SGD.

timm's and torch's take the products in bfloat16, which costs more than the network's own passes on processors without
instructions for it; here they are in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonalised"]

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


class Muon(torch.optim.AdamW):
    """Muon for the parameters of groups with `orthogonal` true, seen as matrices (outputs, all else); AdamW for the others.

    An orthogonal step is as long as one of AdamW is in general: its root mean square is about 0.2 times the learning rate.

    Args:
        groups: Parameter groups with `orthogonal` and `weight_decay`.
        lr: Learning rate of both.
        momentum: Of Muon, in Nesterov's form, and the first beta of AdamW.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; length of a step and weight decay
    of Liu et al. 2025, arXiv 2502.16982, section 2.2.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(groups, lr=lr, betas=(momentum, 0.95))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            if group["orthogonal"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._step(parameter, group)
                        # AdamW passes over what has no gradient.
                        parameter.grad = None
        super().step(closure)

    def _step(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        lr, momentum, state = group["lr"], group["betas"][0], self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        kept = state["momentum"].lerp_(parameter.grad, 1 - momentum)
        change = orthogonalised(parameter.grad.lerp(kept, momentum).flatten(1))
        length = 0.2 * max(change.shape) ** 0.5
        parameter.mul_(1 - lr * group["weight_decay"]).sub_(change.view(parameter.shape), alpha=lr * length)


def orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest matrix (m, n) whose singular values are all one, roughly: they come out between 0.6 and 1.3.

    Five rounds of Jordan's quintic Newton-Schulz iteration; singular values below about 0.0014 of the matrix's norm come out
    smaller.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    a, b, c = _QUINTIC
    x: Tensor = wide / wide.norm().clamp_min(1e-12)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if wide is matrix else x.T
