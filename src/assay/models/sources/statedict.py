"""Weights out of files, and into networks: what does not fit is named, and no pickle is ever run."""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from assay.errors import WeightsError

__all__ = ["Matched", "fit", "halved", "matched", "read_noted", "read_weights", "round_to_half"]

_NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "shadow")
_AVERAGED = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")
"""Where training scripts put weights, and where their running means, which are taken where there is nothing else."""
_FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_WRAPS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch puts into names anywhere."""
_ASIDE = re.compile(
    r"(?i)criterion|loss|metric|n_averaged|pos_weight|(^|_)(acc|accuracy|auroc|auc|f1|precision|recall|confmat|(class_)?weights?|queue|aux\d*)(_|$)"
)
_COPY = re.compile(r"(?i)(^|[._])(ema|swa|teacher|averaged|momentum|target)([._]|$)")
"""Names of what trains beside a network, and of second copies of it."""
_NAMED = re.compile(r"GLOBAL (\S+)")
"""How torch names what it refuses to make."""
_PATHS: list[Any] = [
    (pathlib.PurePath, f"{module}.{name}")
    for module in ("pathlib", "pathlib._local")
    for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
]
_MAKERS: list[Any] = [np.float64().__reduce__()[0], np.zeros(0).__reduce__()[0]]
_NUMBERS: list[Any] = [
    *((one, f"numpy.{core}.multiarray.{one.__name__}") for core in ("core", "_core") for one in _MAKERS),
    np.dtype,
    np.ndarray,
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd"),
]
_PLAIN: list[Any] = [
    *_PATHS,
    *_NUMBERS,
    argparse.Namespace,
    (dict, "pytorch_lightning.utilities.parsing.AttributeDict"),
    (dict, "lightning_fabric.utilities.data.AttributeDict"),
    (dict, "lightning.fabric.utilities.data.AttributeDict"),
]
"""Plain values among hyperparameters whose making does nothing; what is not here is refused."""


@dataclass(frozen=True, eq=False)
class Matched:
    """Weights by a network's own names.

    Attributes:
        state: The weights.
        left_out: Names of entries of the file that are no part of the network.
    """

    state: Mapping[str, Tensor]
    left_out: tuple[str, ...] = ()


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file that holds nothing but tensors and plain values.

    Raises:
        WeightsError: The file is missing or damaged, holds no tensors, or is a pickle that would have to run code.
    """
    return read_noted(path)[0]


def read_noted(path: str | Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """`read_weights`, and the names of running means of the weights beside them, which are not taken.

    Raises:
        WeightsError: See there.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(one.name for one in path.iterdir() if one.suffix in _FILES)
        hint = f", such as {path / files[0]}" if files else ""
        raise WeightsError(f"{path} is a folder; give a file of weights in it{hint}")
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path), ()
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
    content = _read_torch(path)
    means = [name for name in _AVERAGED if isinstance(content, Mapping) and isinstance(content.get(name), Mapping) and content[name]]
    taken = isinstance(content, Mapping) and any(isinstance(content.get(name), Mapping) for name in _NESTS)
    return _unwrap(content, path), tuple(means) if taken else ()


def fit(net: nn.Module, state: Mapping[str, Tensor], source: str) -> tuple[str, ...]:
    """Put the weights into `net`, in place.

    Args:
        net: The network; its own names decide.
        state: Tensors by name; see `matched`.
        source: Where the weights come from, for messages.

    Returns:
        Names of entries that are no part of the network, such as weights of a loss, and were left out.

    Raises:
        WeightsError: A tensor is missing, is one too many, has another shape or is not finite; the message names it.
    """
    own = net.state_dict()
    found = matched(state, own, source, type(net).__name__)
    for name, tensor in found.state.items():
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"{source} does not fit {type(net).__name__}: {name} is {tuple(tensor.shape)} where {tuple(own[name].shape)} is needed"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise WeightsError(f"{source} is damaged: {name} holds NaN or infinity")
    with torch.no_grad():
        for name, tensor in found.state.items():
            own[name].copy_(tensor)
    return found.left_out


def matched(state: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str, network: str) -> Matched:
    """The weights by the names of a network's `own`, without what wrappers (DataParallel, compile, Lightning) put before or into names.

    The prefix is the one below which every tensor of the network is found; of several, running means and teachers come last.
    Beside the network there may be what trains with it (losses, metrics, second copies), which is left out.

    Args:
        state: Tensors by the file's names.
        own: Tensors by the network's names.
        source: Where the weights come from, for messages.
        network: The network's name, for messages.

    Raises:
        WeightsError: Tensors are missing (how many fit is told), or there are weights that the network has no place for.
    """
    for wrap in _WRAPS:
        if not any(wrap in name for name in own):
            state = {name.replace(wrap, ""): value for name, value in state.items()}
    counts = Counter(prefix for name in state for prefix, rest in _splits(name) if rest in own)
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    full = [prefix for prefix in counts if all(prefix + name in state for name in needed)]
    if not full:
        raise WeightsError(f"{source} does not fit {network}: {_lack(counts, state, needed)}")
    best = sorted(full, key=_rank)
    if len(best) > 1 and _rank(best[0]) == _rank(best[1]):
        places = _some([repr(one) for one in best])
        raise WeightsError(f"{source} holds weights of {network} more than once, below {places}; keep one of them")
    prefix = best[0]
    found = {name: state[prefix + name] for name in own if prefix + name in state}
    rest = [name for name in state if not (name.startswith(prefix) and name.removeprefix(prefix) in own)]
    wrong = [name for name in rest if not _is_aside(name, prefix, state[name])]
    if wrong:
        raise WeightsError(f"{source} does not fit {network}, which has no {_some(wrong)}")
    return Matched(found, tuple(rest))


def _rank(prefix: str) -> tuple[bool, int]:
    return bool(_COPY.search(prefix)), prefix.count(".")


def _splits(name: str) -> Iterable[tuple[str, str]]:
    """Every cut of a dotted name into a prefix and the rest."""
    yield "", name
    for at, letter in enumerate(name):
        if letter == ".":
            yield name[: at + 1], name[at + 1 :]


def _is_aside(name: str, prefix: str, tensor: Tensor) -> bool:
    """Whether an entry trains beside the network: by its name, or because it lies elsewhere and is no matrix or filter."""
    inside = name.startswith(prefix)
    top = name.removeprefix(prefix).partition(".")[0] if inside else name
    return bool(_ASIDE.search(top)) or (not inside and (bool(_COPY.search(name)) or (tensor.ndim < 2 and not name.endswith("bias"))))


def _lack(counts: Counter[str], state: Mapping[str, Tensor], needed: list[str]) -> str:
    """How many tensors fit below the nearest prefix, and examples of those that do not."""
    prefix = max(counts, key=lambda one: (counts[one], -len(one)), default="")
    missing = [name for name in needed if prefix + name not in state]
    below = f" below {prefix!r}" if prefix else ""
    fitting = {*needed, *(name for name in state if name.endswith("num_batches_tracked"))}
    lying = [name for name in state if not (name.startswith(prefix) and name.removeprefix(prefix) in fitting)]
    held = f"; what else it holds: {_some(lying)}" if lying else ""
    return f"{len(needed) - len(missing)} of the network's {len(needed)} tensors are there{below}, it has no {_some(missing)}{held}"


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
            with torch.serialization.safe_globals(_PLAIN):
                return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = _NAMED.search(str(error))
        what = f" ({named[1]})" if named else ""
        raise WeightsError(
            f"{path} is a pickle that holds more than tensors{what}, and opening it could run any code, so it is refused; "
            "save its state_dict() with torch.save or safetensors and give that file"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        why = (
            "it is empty"
            if not path.stat().st_size
            else str(error)
            if isinstance(error, RuntimeError | OSError)
            else "it is of another kind"
        )
        raise WeightsError(f"{path} is not a readable torch file: {why}") from error


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    """The mapping of tensors inside what training scripts usually save around it."""
    seen: list[str] = []
    while isinstance(content, Mapping):
        inside = next((key for key in (*_NESTS, *_AVERAGED) if isinstance(content.get(key), Mapping)), None)
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if inside is None and tensors and all(_is_note(value) for value in content.values()):
            return tensors
        if inside is None:
            seen = list(map(str, content))
            break
        content = content[inside]
    has = f"keys {_some(seen)}" if seen else f"a {type(content).__name__}"
    raise WeightsError(f"{path} holds {has}, not a state_dict (a mapping of names to tensors)")


def _is_note(value: object) -> bool:
    """Whether a value is a tensor or a plain note beside tensors, such as the epoch."""
    return isinstance(value, Tensor | int | float | str | None)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
