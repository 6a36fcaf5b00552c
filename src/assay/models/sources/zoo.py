"""Networks of timm and torchvision by name, with the normalisation that they were trained with."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from assay.core.noise import derive
from assay.core.registry import nearest
from assay.data.files.reach import hub_has
from assay.data.files.reading import Reading
from assay.errors import SpecError, WeightsError
from assay.models.seeded import seeded
from assay.models.sources import statedict
from assay.models.sources.preparation import of_timm, preparation

__all__ = ["ZOOS", "Zoo"]

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
_TIMM_PLACES = ("hf-hub", "hf_hub", "local-dir")
"""What timm takes before a colon: the Hugging Face hub, and folders as it writes them."""
_TIMM_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What timm looks for in a repository of the hub."""
_NO_ANSWER = "the Hugging Face hub does not answer, and they are not in its cache"
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
        if self.title == "timm" and name.partition(":")[0] in _TIMM_PLACES and name.partition(":")[2]:
            return  # Which the hub or the folder knows.
        # timm writes variants of the weights after a dot.
        if name.partition(".")[0] not in (known := set(self.names())):
            raise SpecError(f"{self.title} has no classifier {name!r}{nearest(name, known)}")


def _timm_names() -> Iterable[str]:
    import timm

    return list(timm.list_models())


def _timm_build(name: str, classes: int | None, pretrained: bool) -> nn.Module:
    import timm

    if pretrained and not _timm_reaches(name):
        raise ConnectionError(_NO_ANSWER)
    net: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=classes)
    return net


def _timm_reaches(name: str) -> bool:
    """Whether the published weights can be had, as far as they are on the hub."""
    timm_models: Any = importlib.import_module("timm.models")
    source, place = timm_models.parse_model_name(name)
    if source is not None:
        return source == "local-dir" or hub_has(place, *_TIMM_FILES)
    own = timm_models.get_pretrained_cfg(name)
    if own is None or own.file or not own.hf_hub_id:
        return True
    return hub_has(own.hf_hub_id, *((own.hf_hub_filename,) if own.hf_hub_filename else _TIMM_FILES))


def _timm_normalisation(net: nn.Module) -> Statistics:
    own = getattr(net, "pretrained_cfg", {})
    return tuple(own.get("mean", _IMAGENET[0])), tuple(own.get("std", _IMAGENET[1]))


def _timm_reading(name: str) -> Reading | None:
    timm_data, timm_models = (cast("Any", importlib.import_module(f"timm.{part}")) for part in ("data", "models"))
    own = _timm_config(timm_models, name)
    if own is None:
        return None
    return of_timm(timm_data.resolve_data_config(pretrained_cfg=own)).reading


def _timm_classes(name: str) -> tuple[str, ...] | None:
    own = _timm_config(importlib.import_module("timm.models"), name) or {}
    return tuple(map(str, own["label_names"])) if own.get("label_names") else None


def _timm_config(timm_models: Any, name: str) -> dict[str, Any] | None:
    """What timm knows of the published weights of a name, or of a place."""
    source, place = timm_models.parse_model_name(name)
    if source is None:
        own = timm_models.get_pretrained_cfg(name)
        return None if own is None else dict(own.to_dict())
    if source == "local-dir":
        told = json.loads((Path(place) / "config.json").read_text())
        return {"label_names": told.get("label_names"), **told.get("pretrained_cfg", {})}
    try:
        if not hub_has(place, "config.json"):
            raise ConnectionError(_NO_ANSWER)
        return dict(timm_models.load_model_config_from_hf(place)[0])
    except Exception as error:
        raise WeightsError(f"cannot get timm:{name}: {_line(error)}") from error


def _torchvision_reading(name: str) -> Reading | None:
    """The preset of the default weights: Resize, CenterCrop."""
    preset = _torchvision_weights(name).transforms()
    return preparation(preset).reading if getattr(preset, "crop_size", None) else None


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
    "timm": Zoo("timm", _timm_names, _timm_build, _timm_normalisation, _timm_reading, _timm_classes),
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
