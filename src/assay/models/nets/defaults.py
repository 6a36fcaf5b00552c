"""Which architecture and recipe `assay train` takes when it is told none."""

from __future__ import annotations

from assay.errors import DataError
from assay.models.nets.architectures import Architecture, SmallResNet
from assay.models.training.recipe import Flip, Recipe, Shift

__all__ = ["default_architecture", "default_recipe"]


def default_architecture(classes: int, side: int, channels: int = 3) -> Architecture:
    """A residual network that costs about the same at every image size.

    Args:
        classes: Number of classes.
        side: Shorter side of the images in pixels.
        channels: Channels of the images.

    Raises:
        DataError: There are fewer than two classes.
    """
    if classes < 2:
        raise DataError(f"training needs images of at least 2 classes, not {classes}")
    if side < 48:
        return SmallResNet(classes=classes, widths=(32, 64, 128), channels=channels)
    # One halving and one stage more for each doubling of the side beyond 64, up to a last stage 8 positions wide at 512.
    extra = min(max(0, (side - 1).bit_length() - 6), 3)
    return SmallResNet(
        classes=classes,
        widths=(32, 64, 128) + (256,) * extra,
        blocks=(1, 1, 1) + (1,) * extra,
        strides=(2, 2, 1) + (2,) * extra,
        stem=16,
        stem_stride=2,
        channels=channels,
    )


def default_recipe(data: str, side: int) -> Recipe:
    """A recipe for a data set by its name; images that may have a left and a right are not mirrored.

    Args:
        data: The data set's short name.
        side: Shorter side of the images in pixels.
    """
    shift = Shift(pixels=max(1, side // 8))
    if data == "cifar10":
        return Recipe(epochs=16, augment=(shift, Flip()))
    return Recipe(epochs=16, augment=(shift,))
