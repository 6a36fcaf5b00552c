"""What every explainer is: a frozen object, knobs at construction, data at call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, final

from torch import Tensor

from assay.core.inputs import check_finite, check_images, check_index, check_seed
from assay.core.registry import short
from assay.core.surroundings import undisturbed
from assay.data.files.convert import as_batch
from assay.errors import ModelError, SpecError
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.models.targets import Targets, aim

__all__ = ["Cost", "Explainer", "check_call", "check_case", "check_explains", "check_model", "check_serves", "is_fixed", "serves"]


_INSIDE = frozenset({"gradient", "layer", "attention"})
"""Needs that scores alone do not serve."""


class Cost(NamedTuple):
    """Passes of the model that a map takes, its target being given.

    Attributes:
        forward: Forward passes per image.
        backward: Backward passes per image.
        shared: Forward passes that all images of a call share.
        most: Whether they may be fewer.
    """

    forward: int
    backward: int = 0
    shared: int = 0
    most: bool = False

    @property
    def words(self) -> str:
        """Such as "at most 100 forward, 10 backward"."""
        parts = [f"{'at most ' if self.most else ''}{self.forward} forward"] if self.forward else []
        parts += [f"{self.backward} backward"] if self.backward else []
        parts += [f"{self.shared} for all images"] if self.shared else []
        return ", ".join(parts) or "none"


class Explainer(ABC):
    """Base of all explainers: `explainer(model, images)` gives one signed map per image.

    A subclass is decorated with `register`, states the facts below and writes `attribute`.
    """

    category: ClassVar[str]
    """Family: "gradient", "path", "smoothing", "surrogate", "layer", "mask", "control"."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What it takes from the model or the image beside scores: "gradient", "layer", "attention", "segments"."""
    reference: ClassVar[str]
    """The paper that defines it."""
    pitfalls: ClassVar[str] = ""
    """What its maps are known to get wrong, or not to say, in a sentence."""
    takes: ClassVar[str] = ""
    """Passes of the model in words, where they depend on what it is given; see `cost`."""
    signed: ClassVar[bool] = True
    """Whether its maps can be negative."""
    finds_targets: ClassVar[bool] = False
    """Whether `attribute` accepts no targets and takes the predicted class within its own passes."""
    fixed: ClassVar[bool] = False
    """Whether it holds maps that were made elsewhere, so that it cannot explain changed images or another model."""

    @final
    @undisturbed()
    def __call__(
        self, model: Classifier, images: Any, targets: Targets | None = None, *, seed: int = 0, index: Tensor | None = None
    ) -> Tensor:
        """Explain the score of `targets` at `images`.

        Args:
            model: The model to explain.
            images: (N, C, H, W), pixels in [0, 1]; or pictures, arrays, a data set or a loader, as `assay.data.as_batch` takes them.
            targets: (N,) class ids, or what else is explained (`Targets`); None for the predicted classes.
            seed: Decides all randomness, together with `index`.
            index: (N,) the images' global numbers; None for a data set's own, else 0..N-1.

        Returns:
            Signed maps, float32 (N, C, H, W), or (N, 1, H, W) from an explainer without channels, on the images' device.

        Raises:
            AssayError: A wrong input, named in the message, or a map that is not finite.
        """
        home = images.device if isinstance(images, Tensor) else None
        images, aims, index = check_call(model, images, targets, index)
        seed = check_seed(seed)
        check_serves(model, self)
        if "layer" in self.needs:
            model.need_layers(type(self).__name__)
        if aims is None and not self.finds_targets:
            aims = model.choose(model.logits(images))
        maps = self.attribute(model, images, aims, index, seed)
        return check_finite(maps, f"the {type(self).__name__} map").to(home)

    @property
    def cost(self) -> Cost | None:
        """What a map takes; None where that depends on the image, or is up to code from elsewhere."""
        return None

    @abstractmethod
    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """Maps of checked inputs that lie on the model's device; `targets` is None only where `finds_targets`."""

    def with_doubt(
        self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int
    ) -> tuple[Tensor, Tensor | None]:
        """What `attribute` gives, and of explainers that know their own error (N, 1, H, W) bool: pixels whose value may as well be 0."""
        return self.attribute(model, images, targets, index, seed), None


def is_fixed(explainer: object) -> bool:
    """Whether an explainer, or one inside it, holds maps that were made elsewhere and so cannot explain anything anew."""
    if getattr(explainer, "fixed", False):
        return True
    inside = [getattr(explainer, name) for name in getattr(explainer, "__dataclass_fields__", ())]
    return any(is_fixed(one) for one in inside if isinstance(one, Explainer))


def check_explains(explainer: object, who: str) -> None:
    """Raise SpecError if `explainer` holds maps that were made elsewhere, which `who` cannot do with."""
    if is_fixed(explainer):
        raise SpecError(
            f"{who} explains changed images or models too, but {short(explainer)} holds maps that were made elsewhere; "
            f"leave one of the two out, or give the explainer itself (assay.wrap)"
        )


def serves(model: Classifier, explainer: Explainer) -> bool:
    """Whether the model has what an explainer needs of it, which one that is known by its scores alone may not have."""
    return model.differentiable or not explainer.needs & _INSIDE


def check_serves(model: Classifier, explainer: Explainer) -> None:
    """Raise ModelError if the model is known by its scores alone and the explainer needs more."""
    if explainer.needs & _INSIDE:
        model.need_gradients(type(explainer).__name__)


def check_model(model: object) -> None:
    """Raise ModelError unless `model` is a Classifier."""
    if not isinstance(model, Classifier):
        raise ModelError(f"the model must be an assay.Classifier, not {type(model).__name__}; wrap the network: assay.Classifier(net)")


def check_case(model: Classifier, images: Any, targets: Targets | None = None, seed: int = 0, index: Tensor | None = None) -> Case:
    """What a call on images takes, checked and on the model's device; where targets is None, the predicted classes.

    Raises:
        AssayError: A wrong input, named in the message.
    """
    images, aims, index = check_call(model, images, targets, index)
    seed = check_seed(seed)
    if aims is not None:
        return Case(model, images, aims, index, seed)
    logits = model.logits(images)
    return Case(model, images, model.choose(logits), index, seed, outputs=logits)


def check_call(model: Classifier, images: Any, targets: Targets | None, index: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
    """What every call on images takes, checked and on the model's device: images, targets (None stays None) and index.

    Args:
        model: The model.
        images: (N, C, H, W), or what `assay.data.as_batch` takes, whose pictures are prepared as `model.reading` says.
        targets: See `Explainer`.
        index: The images' global numbers; None for a data set's own, else 0..N-1.

    Raises:
        AssayError: A wrong input, named in the message.
    """
    check_model(model)
    if not isinstance(images, Tensor):
        held = as_batch(images, model.reading)
        images, index = held.images, held.index if index is None else index
    images = check_images(images).to(model.device)
    model.try_on(images)
    aims = None if targets is None else aim(targets, len(images), model.count_classes(images.shape[1:]), model.device)
    return images, aims, check_index(index, len(images), model.device)
