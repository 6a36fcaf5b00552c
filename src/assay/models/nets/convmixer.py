"""The ConvMixer of timm."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from assay.core.registry import check_at_least, register
from assay.errors import SpecError
from assay.models.nets.architecture import Architecture

__all__ = ["ConvMixer"]


@register
class ConvMixer(Architecture):
    """A convolutional network without stages (timm): patches, then blocks of one depthwise and one 1x1 convolution.

    Args:
        classes: Number of logits.
        width: Channels of every block.
        depth: Blocks.
        kernel: Side of the depthwise kernels, odd so that they have a middle.
        patch: Side of a patch.
        channels: Channels of the images.
    """

    classes: int = 10
    width: int = 192
    depth: int = 8
    kernel: int = 3
    patch: int = 4
    channels: int = 3
    reference: ClassVar[str] = "Trockman, Kolter: Patches Are All You Need?, TMLR 2023"

    def __post_init__(self) -> None:
        check_at_least(self, 2, "classes")
        check_at_least(self, 1, "width", "depth", "kernel", "patch", "channels")
        if self.kernel % 2 == 0:
            raise SpecError(f"ConvMixer: kernel must be odd, not {self.kernel}")

    def _net(self) -> nn.Module:
        from timm.models import convmixer  # Here, because the import takes seconds.

        net: nn.Module = convmixer.ConvMixer(
            dim=self.width,
            depth=self.depth,
            kernel_size=self.kernel,
            patch_size=self.patch,
            in_chans=self.channels,
            num_classes=self.classes,
        )
        return net
