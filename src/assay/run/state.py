"""A state to go on from, for work that has no blocks: tensors and plain values in one file that is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from assay.errors import DataError
from assay.models.training.fitting import State

__all__ = ["read_state", "state_bytes"]

_VALUES = "values"


def state_bytes(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> bytes:
    """A safetensors file of the tensors, with the values as JSON in its head.

    Raises:
        TypeError: A value is not plain: text, number, truth value, None, list or dict of such.
    """
    # Tensors that share memory, such as tied weights, are kept apart: safetensors refuses them.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return safetensors.torch.save(own, {_VALUES: json.dumps(dict(values))})


def read_state(path: Path) -> State | None:
    """What `state_bytes` made; None where there is no file.

    Raises:
        DataError: The file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            values = json.loads(file.metadata()[_VALUES])
            return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118  (it is no mapping)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"the state {path} is damaged ({error}); remove it to begin again") from error
