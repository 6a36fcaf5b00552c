"""The Swin transformer of timm for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from assay.core.registry import check_at_least, check_positive, register
from assay.errors import SpecError
from assay.models.nets.architecture import Architecture
from assay.models.nets.vit import plain_attention

__all__ = ["Swin"]


@register
class Swin(Architecture):
    """A transformer with attention inside shifted windows (timm); each stage after the first halves the map and doubles the width.

    Args:
        classes: Number of logits.
        size: Side of the images in pixels; a transformer knows one size only.
        patch: Side of a patch.
        width: Channels of the first stage.
        depths: Blocks of each stage.
        heads: Attention heads of each stage.
        window: Side of a window in tokens; a map that is smaller is one window.
        mlp: Hidden width of the blocks' perceptrons over their width.
        drop_path: Share of the last block's residual branches dropped in training, rising from 0 at the first.
        channels: Channels of the images.
    """

    classes: int = 10
    size: int = 32
    patch: int = 4
    width: int = 64
    depths: tuple[int, ...] = (2, 4)
    heads: tuple[int, ...] = (2, 4)
    window: int = 4
    mlp: float = 2.0
    drop_path: float = 0.0
    channels: int = 3
    reference: ClassVar[str] = "Liu et al.: Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, ICCV 2021"

    def __post_init__(self) -> None:
        check_at_least(self, 2, "classes")
        check_at_least(self, 1, "size", "patch", "width", "window", "channels")
        check_positive(self, "mlp")
        if not len(self.depths) == len(self.heads) > 0 or min(*self.depths, *self.heads) < 1:
            raise SpecError(f"Swin: depths and heads must have one number from 1 up per stage, not {self.depths}, {self.heads}")
        # Merging takes 2 x 2 tokens, so the map must have an even side wherever it is halved.
        if self.size % (self.patch * 2 ** (len(self.depths) - 1)):
            raise SpecError(f"Swin: size must be a multiple of patch times 2 for each stage after the first, not {self.size}")
        for stage, heads in enumerate(self.heads):
            if self.width * 2**stage % heads:
                raise SpecError(f"Swin: heads must divide the stage's width {self.width * 2**stage}, not {heads}")
        if not 0 <= self.drop_path < 1:
            raise SpecError(f"Swin: drop_path must be at least 0 and below 1, not {self.drop_path!r}")

    def check(self, shape: Sequence[int]) -> None:
        """See `Architecture.check`."""
        super().check(shape)
        self.check_side(self.size, shape)

    def _net(self) -> nn.Module:
        from timm.models.swin_transformer import SwinTransformer  # Here, because the import takes seconds.

        return plain_attention(
            SwinTransformer(
                img_size=self.size,
                patch_size=self.patch,
                in_chans=self.channels,
                num_classes=self.classes,
                embed_dim=self.width,
                depths=self.depths,
                num_heads=self.heads,
                window_size=self.window,
                mlp_ratio=self.mlp,
                drop_path_rate=self.drop_path,
            )
        )
