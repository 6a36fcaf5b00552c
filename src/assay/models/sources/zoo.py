"""Networks of timm and torchvision by name, with the normalisation that they were trained with."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from torch import Tensor, nn

from assay.core.noise import derive
from assay.core.registry import nearest
from assay.data.files.reading import Interpolation, Reading
from assay.errors import SpecError, WeightsError
from assay.models.seeded import seeded
from assay.models.sources import statedict

__all__ = ["ZOOS", "Zoo"]

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
_IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Zoo:
    """A library of networks."""

    title: str
    names: Callable[[], Iterable[str]]
    """All classifiers' names."""
    build: Callable[[str, int | None, bool], nn.Module]
    """A network from its name, its number of classes (None for its own) and whether to fetch its published weights."""
    normalisation: Callable[[nn.Module], Statistics]
    """Mean and standard deviation that a network was trained with."""
    reading_of: Callable[[str], Reading | None]
    """How pictures are prepared for the published weights of a name."""
    classes: Callable[[str], tuple[str, ...] | None]
    """Names of the classes of the published weights, where the library has them."""

    def reading(self, name: str) -> Reading | None:
        """How pictures are prepared for the published weights of a name, where the library says so.

        Raises:
            SpecError: The library has no such network.
        """
        self._check(name)
        return self.reading_of(name)

    def untrained(self, name: str, classes: int | None = None, seed: int = 0) -> nn.Module:
        """A network with random weights that depend on `seed` alone.

        Raises:
            SpecError: The library has no such network.
        """
        self._check(name)
        with seeded(derive(seed, "initialise")), warnings.catch_warnings():
            # torchvision announces changes to come in how two old networks are initialised.
            warnings.simplefilter("ignore", FutureWarning)
            return self._build(name, classes)

    def pretrained(self, name: str) -> nn.Module:
        """A network with its published weights, downloaded where they are not in the library's cache.

        Raises:
            SpecError: The library has no such network.
            WeightsError: There are no published weights, or they cannot be fetched.
        """
        self._check(name)
        try:
            with seeded(0):
                return self.build(name, None, True)
        except Exception as error:
            raise WeightsError(
                f"cannot get the published weights of {self.title}:{name} ({_line(error)}); "
                "check the network connection, or fetch the file elsewhere and give it with --weights FILE"
            ) from error

    def with_weights(self, name: str, state: Mapping[str, Tensor], source: str) -> tuple[nn.Module, tuple[str, ...]]:
        """A network with the weights `state`, with as many classes as they have, and what was left out of them.

        Raises:
            SpecError: The library has no such network.
            WeightsError: The weights do not fit.
        """
        net = self.untrained(name)
        own = net.state_dict()
        found = statedict.matched(state, own, source, type(net).__name__).state
        # The last bias is the classifier's, one number per class.
        head = next((key for key in reversed(own) if key.endswith("bias")), "")
        if head in found and found[head].ndim == 1 and found[head].shape != own[head].shape:
            net = self.untrained(name, len(found[head]))
        return net, statedict.fit(net, state, source)

    def _build(self, name: str, classes: int | None) -> nn.Module:
        try:
            return self.build(name, classes, False)
        except (RuntimeError, ValueError) as error:
            raise SpecError(f"{self.title} cannot build {name}: {_line(error)}") from error

    def _check(self, name: str) -> None:
        # timm writes variants of the weights after a dot.
        if name.partition(".")[0] not in (known := set(self.names())):
            raise SpecError(f"{self.title} has no classifier {name!r}{nearest(name, known)}")


def _timm_names() -> Iterable[str]:
    import timm

    return list(timm.list_models())


def _timm_build(name: str, classes: int | None, pretrained: bool) -> nn.Module:
    import timm

    net: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=classes)
    return net


def _timm_normalisation(net: nn.Module) -> Statistics:
    own = getattr(net, "pretrained_cfg", {})
    return tuple(own.get("mean", _IMAGENET[0])), tuple(own.get("std", _IMAGENET[1]))


def _timm_reading(name: str) -> Reading | None:
    timm_data, timm_models = (cast("Any", importlib.import_module(f"timm.{part}")) for part in ("data", "models"))
    own = timm_models.get_pretrained_cfg(name)
    if own is None:
        return None
    told = timm_data.resolve_data_config(pretrained_cfg=own.to_dict())
    height, width = told["input_size"][1:]
    method: Interpolation = told["interpolation"] if told["interpolation"] in get_args(Interpolation) else "bilinear"
    channels: Literal[1, 3] = 1 if told["input_size"][0] == 1 else 3
    if told["crop_mode"] == "squash":
        return Reading(resize=(height, width), interpolation=method, channels=channels)
    return Reading(int(min(height, width) / told["crop_pct"]), (height, width), method, channels)


def _torchvision_reading(name: str) -> Reading | None:
    """The preset of the default weights: Resize, CenterCrop."""
    preset = _torchvision_weights(name).transforms()
    resize, crop = (_side(getattr(preset, key, None)) for key in ("resize_size", "crop_size"))
    return Reading(resize, crop, preset.interpolation.value) if crop is not None else None


def _side(sizes: Sequence[int] | None) -> int | tuple[int, int] | None:
    return None if not sizes else sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def _torchvision_weights(name: str) -> Any:
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _torchvision_names() -> Iterable[str]:
    from torchvision import models

    return list(models.list_models(module=models))


def _torchvision_build(name: str, classes: int | None, pretrained: bool) -> nn.Module:
    from torchvision import models

    options = {} if classes is None else {"num_classes": classes}
    net: nn.Module = models.get_model(name, weights="DEFAULT" if pretrained else None, **options)
    return net


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


ZOOS = {
    "timm": Zoo("timm", _timm_names, _timm_build, _timm_normalisation, _timm_reading, lambda _: None),
    "torchvision": Zoo(
        "torchvision",
        _torchvision_names,
        _torchvision_build,
        lambda _: _IMAGENET,
        _torchvision_reading,
        lambda name: tuple(_torchvision_weights(name).meta["categories"]),
    ),
}
"""The libraries that specs can name."""
