"""What every explainer is: a frozen object, knobs at construction, data at call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, final

from torch import Tensor

from assay.core.inputs import check_finite, check_images, check_index, check_targets
from assay.errors import ModelError
from assay.models.classifier import Classifier

__all__ = ["Explainer", "check_call", "check_model"]


class Explainer(ABC):
    """Base of all explainers: `explainer(model, images)` gives one signed map per image.

    A subclass is decorated with `register`, states the facts below and writes `attribute`.
    """

    category: ClassVar[str]
    """Family: "gradient", "path", "smoothing", "surrogate", "layer", "mask", "control"."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What it takes from the model or the image beside scores: "gradient", "layer", "segments"."""
    reference: ClassVar[str]
    """The paper that defines it."""
    finds_targets: ClassVar[bool] = False
    """Whether `attribute` accepts no targets and takes the predicted class within its own passes."""

    @final
    def __call__(
        self, model: Classifier, images: Tensor, targets: Tensor | None = None, *, seed: int = 0, index: Tensor | None = None
    ) -> Tensor:
        """Explain the score of `targets` at `images`.

        Args:
            model: The model to explain.
            images: (N, C, H, W), pixels in [0, 1].
            targets: (N,) class ids; None for the predicted classes.
            seed: Decides all randomness, together with `index`.
            index: (N,) the images' global numbers; 0..N-1 when None.

        Returns:
            Signed maps, float32 (N, C, H, W), or (N, 1, H, W) from an explainer without channels, on the images' device.

        Raises:
            AssayError: A wrong input, named in the message, or a map that is not finite.
        """
        home = images.device if isinstance(images, Tensor) else None
        images, targets, index = check_call(model, images, targets, index)
        if targets is None and not self.finds_targets:
            targets = model.predict(images)
        maps = self.attribute(model, images, targets, index, seed)
        return check_finite(maps, f"the {type(self).__name__} map").to(home)

    @abstractmethod
    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """Maps of checked inputs that lie on the model's device; `targets` is None only where `finds_targets`."""


def check_model(model: object) -> None:
    """Raise ModelError unless `model` is a Classifier."""
    if not isinstance(model, Classifier):
        raise ModelError(f"the model must be an assay.Classifier, not {type(model).__name__}; wrap the network: assay.Classifier(net)")


def check_call(model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
    """What every call on images takes, checked and on the model's device: images, targets (None stays None) and index.

    Raises:
        AssayError: A wrong input, named in the message.
    """
    check_model(model)
    images = check_images(images).to(model.device)
    if targets is not None:
        targets = check_targets(targets, len(images), model.count_classes(images.shape[1:]), model.device)
    return images, targets, check_index(index, len(images), model.device)
