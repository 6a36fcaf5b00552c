"""Watching that code leaves alone what is not its own."""

import contextlib
import os
import random
import sys
import warnings

import numpy as np
import torch
from torch.utils import checkpoint


def product_switches():
    """All that decides how torch multiplies float32, as it is kept: "none" takes over what is set for all parts."""
    backends = torch.backends
    parts = (backends.mkldnn.matmul, backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        return [backends.fp32_precision, *(part.fp32_precision for part in parts)]
    return [torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32]


def usual_products():
    """Put that back as torch comes."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        torch.backends.fp32_precision = "none"
        torch.backends.mkldnn.matmul.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "none"


@contextlib.contextmanager
def generators_untouched():
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert all(np.array_equal(old, new) for old, new in zip(before[1], np.random.get_state(), strict=True))
    assert before[2] == random.getstate()


def surroundings():
    """What a process has one of, as a comparable value: settings of torch and numpy, filters of warnings, folder, environment."""
    return {
        "folder": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "path": list(sys.path),
        "numpy": np.geterr(),
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cpu")),
        "anomalies": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "products": product_switches(),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "onednn": torch.backends.mkldnn.enabled,
        "device": torch.get_default_device(),
        "checkpoint": checkpoint.CheckpointFunction,
    }


@contextlib.contextmanager
def surroundings_untouched():
    """Asserts that the generators and all that `surroundings` sees stay as they were."""
    with generators_untouched():
        before = surroundings()
        yield
        assert surroundings() == before


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
