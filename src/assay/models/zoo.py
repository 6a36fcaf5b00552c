"""Networks of timm and torchvision by name, with the normalisation that they were trained with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from assay.core.noise import derive
from assay.core.registry import nearest
from assay.errors import SpecError, WeightsError
from assay.models import statedict
from assay.models.seeded import seeded

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

    def with_weights(self, name: str, state: Mapping[str, Tensor], source: str) -> nn.Module:
        """A network with the weights `state`, with as many classes as they have.

        Raises:
            SpecError: The library has no such network.
            WeightsError: The weights do not fit.
        """
        net = self.untrained(name)
        own = net.state_dict()
        state = statedict.without_prefix(state, own)
        # The last bias is the classifier's, one number per class.
        head = next((key for key in reversed(own) if key.endswith("bias")), "")
        if head in state and state[head].ndim == 1 and state[head].shape != own[head].shape:
            net = self.untrained(name, len(state[head]))
        statedict.fit(net, state, source)
        return net

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
    "timm": Zoo("timm", _timm_names, _timm_build, _timm_normalisation),
    "torchvision": Zoo("torchvision", _torchvision_names, _torchvision_build, lambda _: _IMAGENET),
}
"""The libraries that specs can name."""
