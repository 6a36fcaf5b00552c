"""What stands in for pixels that are taken away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from assay.core.registry import check_positive, register
from assay.errors import SpecError
from assay.models.classifier import Classifier
from assay.models.heads import Output

__all__ = ["Background", "Blur", "Constant", "MeanColour", "background_scores"]


class Background(ABC):
    """Makes the image that shows through where pixels are removed."""

    shared: ClassVar[bool] = False
    """Whether it is the same for every image, so that one pass serves all."""
    steady: ClassVar[bool] = False
    """Whether an image gets the same whatever the seed, and making it costs enough to keep it where it is needed again and again."""

    @abstractmethod
    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """Backgrounds (N, C, H, W) for images (N, C, H, W)."""


@register
class Constant(Background):
    """One grey value everywhere; 0 is black."""

    value: float = 0.0
    shared: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise SpecError(f"Constant: value must be a pixel in [0, 1], not {self.value!r}")

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`."""
        return images.new_full((1, *images.shape[1:]), self.value).expand_as(images)


@register
class MeanColour(Background):
    """Each image's own mean colour."""

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`."""
        return images.mean((2, 3), keepdim=True).expand_as(images)


@register
class Blur(Background):
    """Each image blurred by a Gaussian of `sigma` pixels."""

    sigma: float = 5.0
    steady: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(self, "sigma")

    def fill(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """See `Background.fill`."""
        from torchvision.transforms.v2.functional import gaussian_blur  # Here, because the import takes seconds.

        # Reflection needs a kernel smaller than twice the image; three deviations hold all but 0.3 % of the mass.
        reach = min(round(3 * self.sigma), *(side - 1 for side in images.shape[2:]))
        return gaussian_blur(images, [2 * max(reach, 1) + 1] * 2, [self.sigma] * 2) if reach > 0 else images


def background_scores(model: Classifier, background: Background, filled: Tensor, targets: Tensor, output: Output | None = None) -> Tensor:
    """Scores (N,) of the backgrounds for each image's target; one pass when all images share their background."""
    logits = model.unchecked_logits(filled[:1] if background.shared else filled)
    return model.score(logits.expand(len(targets), *logits.shape[1:]), targets, output)
