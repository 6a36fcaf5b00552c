"""Watching that code leaves alone what is not its own."""

import contextlib
import random

import numpy as np
import torch


@contextlib.contextmanager
def generators_untouched():
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert all(np.array_equal(old, new) for old, new in zip(before[1], np.random.get_state(), strict=True))
    assert before[2] == random.getstate()


def snapshot(net):
    """All of a module that a caller could see change, as a comparable value."""
    parts = []
    for name, module in net.named_modules():
        hooks = [tuple(vars(module)[key]) for key in sorted(vars(module)) if key.endswith("_hooks")]
        parts.append((name, type(module).__name__, id(module), module.training, hooks))
    for name, parameter in net.named_parameters(remove_duplicate=False):
        grad = None if parameter.grad is None else (id(parameter.grad), parameter.grad.numpy().tobytes())
        parts.append((name, id(parameter), parameter.requires_grad, str(parameter.device), parameter.detach().numpy().tobytes(), grad))
    for name, buffer in net.named_buffers(remove_duplicate=False):
        parts.append((name, id(buffer), buffer.requires_grad, str(buffer.device), buffer.detach().numpy().tobytes()))
    return parts
