"""The vision transformer of timm for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from assay.core.registry import check_at_least, check_positive, register
from assay.errors import SpecError
from assay.models.nets.architecture import Architecture

__all__ = ["ViT", "plain_attention"]


@register
class ViT(Architecture):
    """A vision transformer (timm) that averages its tokens, with learnt positions.

    Args:
        classes: Number of logits.
        size: Side of the images in pixels; a transformer knows one size only.
        patch: Side of a patch.
        width: Channels of a token.
        depth: Blocks.
        heads: Attention heads of each block.
        mlp: Hidden width of the blocks' perceptrons over `width`.
        class_token: Read the class off a token of its own, as in the original, rather than off the average.
        dropout: Share of activations dropped in training.
        channels: Channels of the images.
    """

    classes: int = 10
    size: int = 32
    patch: int = 4
    width: int = 128
    depth: int = 4
    heads: int = 4
    mlp: float = 2.0
    class_token: bool = False
    dropout: float = 0.0
    channels: int = 3
    reference: ClassVar[str] = "Dosovitskiy et al.: An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, ICLR 2021"

    def __post_init__(self) -> None:
        check_at_least(self, 2, "classes")
        check_at_least(self, 1, "size", "patch", "width", "depth", "heads", "channels")
        check_positive(self, "mlp")
        if self.size % self.patch:
            raise SpecError(f"ViT: patch must divide size={self.size}, not {self.patch}")
        if self.width % self.heads:
            raise SpecError(f"ViT: heads must divide width={self.width}, not {self.heads}")
        if not 0 <= self.dropout < 1:
            raise SpecError(f"ViT: dropout must be at least 0 and below 1, not {self.dropout!r}")

    def check(self, shape: Sequence[int]) -> None:
        """See `Architecture.check`."""
        super().check(shape)
        self.check_side(self.size, shape)

    def _net(self) -> nn.Module:
        from timm.models.vision_transformer import VisionTransformer  # Here, because the import takes seconds.

        return plain_attention(
            VisionTransformer(
                img_size=self.size,
                patch_size=self.patch,
                in_chans=self.channels,
                num_classes=self.classes,
                global_pool="token" if self.class_token else "avg",
                class_token=self.class_token,
                embed_dim=self.width,
                depth=self.depth,
                num_heads=self.heads,
                mlp_ratio=self.mlp,
                pos_drop_rate=self.dropout,
                proj_drop_rate=self.dropout,
            )
        )


def plain_attention(net: nn.Module) -> nn.Module:
    """The network with attention written out: torch's fused one has no second derivative, which attacks on gradients need."""
    for module in net.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    return net
