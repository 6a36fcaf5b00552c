"""Architectures for 32 x 32 images by name: seven families, each small enough for two cores, and as large as in the papers."""

from __future__ import annotations

from assay.core.registry import build, changed, nearest, registered
from assay.errors import SpecError
from assay.models.nets.architectures import VGG, Architecture, ConvMixer, GoogLeNet, SmallResNet, Swin, ViT

__all__ = ["NAMED", "named_architecture"]

NAMED: dict[str, Architecture] = {
    "resnet-small": SmallResNet(widths=(64, 128, 256)),
    "bottleneck-small": SmallResNet(widths=(32, 64, 128), block="bottleneck"),
    "vgg-small": VGG(widths=(32, 64, 128, 128), convolutions=(1, 1, 2, 2)),
    "googlenet-small": GoogLeNet(width=0.25, modules=(1, 2, 2), stem_stride=2),
    "vit-small": ViT(width=96, depth=4, heads=3, mlp=2.0),
    "convmixer-small": ConvMixer(width=160, depth=6, kernel=3, patch=4),
    "swin-small": Swin(width=64, depths=(2, 4), heads=(2, 4), patch=4),
    # ResNet-18 as for CIFAR: 3x3 stem, no pooling.
    "resnet-paper": SmallResNet(widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2), strides=(1, 2, 2, 2), stem=64),
    # ResNet-50 likewise, VGG16 with one linear layer, GoogLeNet with all modules.
    "bottleneck-paper": SmallResNet(widths=(64, 128, 256, 512), blocks=(3, 4, 6, 3), strides=(1, 2, 2, 2), stem=64, block="bottleneck"),
    "vgg-paper": VGG(widths=(64, 128, 256, 512, 512), convolutions=(2, 2, 3, 3, 3)),
    "googlenet-paper": GoogLeNet(width=1.0, modules=(2, 5, 2), stem_stride=1),
    # The sizes of github.com/kentaroy47/vision-transformers-cifar10, but for kernels with a middle and a last halving in Swin.
    "vit-paper": ViT(width=512, depth=6, heads=8, mlp=1.0, class_token=True, dropout=0.1),
    "convmixer-paper": ConvMixer(width=256, depth=16, kernel=9, patch=1),
    "swin-paper": Swin(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), patch=2, mlp=4.0),
}
"""Ten classes, three channels."""


def named_architecture(text: str, classes: int) -> Architecture:
    """The architecture of a name, with as many classes as the data, or of a spec, as it is.

    Args:
        text: One of `NAMED`, or a spec such as `ViT(depth=6)`.
        classes: Number of classes, for names.

    Raises:
        SpecError: The text is neither.
    """
    if text in NAMED:
        return changed(NAMED[text], classes=classes)
    if text.partition("(")[0].strip() not in registered(Architecture):
        known = [*NAMED, *registered(Architecture)]
        raise SpecError(f"unknown architecture {text!r}{nearest(text.partition('(')[0], known)} (known: {', '.join(known)})")
    return build(text, Architecture)
