"""What explainers of other libraries need of a Classifier: modules to hook into, chunks, seeds, and a model left as it was."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from assay.core.chunk import out_of_memory
from assay.core.noise import derive
from assay.core.registry import nearest
from assay.errors import AssayError, ModelError, ShapeError, SpecError
from assay.explain.features.layers import check_layer, uncompiled
from assay.models.classifier import Classifier
from assay.models.seeded import seeded

__all__ = [
    "Logits",
    "Options",
    "ScoreModule",
    "as_maps",
    "by_chunks",
    "check_options",
    "imported",
    "layer_name",
    "layer_of",
    "lent",
    "network_input",
    "one_by_one",
    "spec",
    "unknown",
]

Options = tuple[tuple[str, Any], ...]
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_modules")


class ScoreModule(nn.Module):
    """A Classifier as a module from pixels (n, C, H, W) and targets (n,) to what is explained (n,)."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.net = model.module
        self._model = model

    def forward(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """ScoreModule (n,); one target stands for all."""
        targets = targets.expand(len(pixels)) if targets.ndim == 0 else targets
        return self._model.score(self._model.forward(pixels), targets)


class Logits(nn.Module):
    """A Classifier as a module from pixels (n, C, H, W) to logits (n, K)."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.net = model.module
        self._model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (n, K)."""
        return self._model.forward(pixels)


def imported(module: str, extra: str) -> ModuleType:
    """A module of another library.

    Raises:
        SpecError: It is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SpecError(f'{module.partition(".")[0]} is not installed; get it by pip install "assay[{extra}]" ({error})') from error


def check_options(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise SpecError for the first option that `what` does not have."""
    known = list(known)
    for name in given:
        if name not in known:
            raise SpecError(f"{what} has no option {name}{nearest(name, known)} (its options are {', '.join(known) or 'none'})")


def spec(library: str, name: str, options: Mapping[str, Any] | Options) -> str:
    """The spec that builds a library's explainer."""
    return f"{library}:{name}({', '.join(f'{key}={value!r}' for key, value in dict(options).items())})"


def unknown(library: str, name: str, known: Iterable[str], module: ModuleType, why: str) -> SpecError:
    """The refusal of a name that is none of `known`; `why` says it of what the library does have by that name."""
    known = sorted(known)
    what = f"{library}:{name} {why}" if hasattr(module, name) else f"there is no {library}:{name}{nearest(name, known)}"
    return SpecError(f"{what} (known: {', '.join(known)})")


@contextmanager
def lent(model: Classifier, who: str, weights: bool = False) -> Iterator[None]:
    """Let `who` hook into the network, and leave it as it was, also after an error.

    Args:
        model: The model; its compiled form, which hides its layers, is not used.
        who: Named in errors.
        weights: Whether the weights are changed too.

    Raises:
        ModelError: The library failed; the message says how.
    """
    model.need_layers(who)
    modules = list(model.module.modules())
    before = [(vars(module)[key], dict(vars(module)[key])) for module in modules for key in _HOOKS]
    state = {name: value.clone() for name, value in model.module.state_dict().items()} if weights else {}
    try:
        with uncompiled(model), torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
            # They warn of the hooks that they set, which are set on a private copy and taken off again.
            warnings.simplefilter("ignore", UserWarning)
            yield
    except Exception as error:
        if state:
            model.module.load_state_dict(state)
        if isinstance(error, AssayError) or out_of_memory(error):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{who} fails on {model.name}: {reason}") from error
    finally:
        for held, content in before:
            held.clear()
            held.update(content)
        model.module.requires_grad_(False)


def by_chunks(model: Classifier, images: Tensor, maps_of: Callable[[slice], Tensor]) -> Tensor:
    """Maps of all images, a chunk that fits memory at a time."""
    found: list[Tensor] = []

    def step(start: int, stop: int) -> None:
        found.append(maps_of(slice(start, stop)))

    model.run(len(images), images.shape[1:], True, step)
    return torch.cat(found)


def one_by_one(index: Tensor, seed: int, stream: str, maps_of: Callable[[slice], Tensor]) -> Tensor:
    """Maps of a method that draws from the global generators: image by image, each seeded by its own number."""
    found = []
    for row, number in enumerate(index.tolist()):
        own = derive(derive(seed, stream), str(number))
        kept = np.random.get_state()
        np.random.seed(own % 2**32)
        try:
            with seeded(own, index.device):
                found.append(maps_of(slice(row, row + 1)))
        finally:
            np.random.set_state(kept)
    return torch.cat(found)


def as_maps(maps: Any, images: Tensor, who: str) -> Tensor:
    """What a library or a user's function gave for images, as float32 (N, C, H, W) or (N, 1, H, W) on their device.

    Raises:
        ShapeError: It is of another shape.
    """
    if isinstance(maps, tuple | list) and len(maps) == 1:
        maps = maps[0]
    if isinstance(maps, np.ndarray):
        maps = torch.from_numpy(maps)
    count, channels, height, width = images.shape
    fit = ((count, height, width), (count, 1, height, width), (count, channels, height, width))
    if not isinstance(maps, Tensor) or tuple(maps.shape) not in fit:
        given = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ShapeError(f"{who} must give maps {fit[2]}, {fit[1]} or {fit[0]} for these images, not {given}")
    found: Tensor = maps.detach().to(images.device, torch.float32)
    return found if found.ndim == 4 else found[:, None]


@contextmanager
def network_input(model: Classifier) -> Iterator[list[Tensor]]:
    """Keep what the network itself is given, normalised pixels, at each run inside the block."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, given: tuple[Any, ...]) -> None:
        seen.append(given[0])

    handle = model.module.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def layer_of(model: Classifier, name: str) -> nn.Module:
    """The layer of that name; see `check_layer`."""
    layers: dict[str, nn.Module] = dict(model.module.named_modules(remove_duplicate=False))
    return layers[check_layer(model, name)]


def layer_name(layer: nn.Module, net: nn.Module | None, who: str) -> str:
    """A layer's name in the network that it was taken from.

    Raises:
        ModelError: It is not in that network.
    """
    found = next((name for name, module in net.named_modules() if module is layer), "") if net is not None else ""
    if not found:
        raise ModelError(f"{who}: its layer {type(layer).__name__} is not in its network, so it cannot be found in the Classifier's copy")
    return found
