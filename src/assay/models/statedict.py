"""Weights out of files, and into networks: what does not fit is named, and no pickle is ever run."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from assay.errors import WeightsError

__all__ = ["fit", "halved", "read", "round_to_half", "without_prefix"]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")


def read(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file that holds nothing but tensors and plain values.

    Raises:
        WeightsError: The file is missing or damaged, holds no tensors, or is a pickle that would have to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
    return _unwrap(_read_torch(path), path)


def fit(net: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Put the weights into `net`, in place.

    Args:
        net: The network; its own names decide.
        state: Tensors by name; a prefix that wrappers put before every name is dropped.
        source: Where the weights come from, for messages.

    Raises:
        WeightsError: A tensor is missing, is one too many, has another shape or is not finite; the message names it.
    """
    own = net.state_dict()
    state = without_prefix(state, own)
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(f"{source} does not fit {type(net).__name__}: it has no {_some(missing)}")
    extra = [name for name in state if name not in own]
    if extra:
        raise WeightsError(f"{source} does not fit {type(net).__name__}, which has no {_some(extra)}")
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"{source} does not fit {type(net).__name__}: {name} is {tuple(tensor.shape)} where {tuple(own[name].shape)} is needed"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise WeightsError(f"{source} is damaged: {name} holds NaN or infinity")
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def without_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights without what wrappers (DataParallel, torch.compile, Lightning) put before every name of the network's `own`."""
    while True:
        prefix = next((p for p in _PREFIXES if state and all(name.startswith(p) for name in state)), None)
        if prefix is None or all(name.startswith(prefix) for name in own):
            return state
        state = {name.removeprefix(prefix): value for name, value in state.items()}


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with matrices and filters in 16 bits; vectors are few, and batch norm needs their range."""
    return {name: tensor.half() if tensor.ndim > 1 and tensor.is_floating_point() else tensor for name, tensor in state.items()}


def round_to_half(net: nn.Module) -> None:
    """Round the weights in place to what `halved` keeps of them."""
    fit(net, halved(net.state_dict()), "the rounded network")


def _read_torch(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            # torch warns of other pickle protocols before it fails on them; what matters to the user is said below.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is a pickle that holds more than tensors, and opening it could run any code, so it is refused; "
            "save its state_dict() with torch.save or safetensors and give that file"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} is not a readable torch file: {error}") from error


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    """The mapping of tensors inside what training scripts usually save around it."""
    seen: list[str] = []
    while isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        inside = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inside is None and tensors and len(tensors) == len(content):
            return tensors
        if inside is None:
            seen = list(map(str, content))
            break
        content = content[inside]
    has = f"keys {_some(seen)}" if seen else f"a {type(content).__name__}"
    raise WeightsError(f"{path} holds {has}, not a state_dict (a mapping of names to tensors)")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
