"""The networks of docs/models.md: small variants of the families of three libraries, and networks written in unusual ways."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import strange_networks
from torch import Tensor, nn

__all__ = ["Row", "every"]

CLASSES = 10
SIZES = ((64, 96), (96, 96), (128, 128), (160, 160), (192, 192), (224, 224), (240, 240), (256, 256))
"""Heights and widths, of which the first that a network takes is used."""

TIMM = """
beit_base_patch16_224 botnet26t_256 halonet26t cait_xxs24_224 coat_lite_tiny convit_tiny convmixer_768_32 convnext_atto convnextv2_atto
crossvit_9_240 cs3darknet_s cspresnet50 davit_tiny deit_tiny_distilled_patch16_224 deit3_small_patch16_224 densenet121 dla34 dpn48b
edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientnetv2_rw_t efficientvit_b0 efficientvit_m0
eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny ghostnet_050 gernet_s hardcorenas_a hgnetv2_b0
hiera_tiny_224 hrnet_w18_small inception_next_atto inception_v3 lcnet_050 levit_128s mambaout_femto maxvit_rmlp_pico_rw_256
coatnet_pico_rw_224 poolformer_s12 caformer_s18 mixer_s32_224 gmlp_ti16_224 resmlp_12_224 mnasnet_small mobilenetv2_050
mobilenetv3_small_050 mobilenetv4_conv_small mobileone_s0 mobilevit_xxs mobilevitv2_050 mvitv2_tiny naflexvit_base_patch16_gap nest_tiny
nextvit_small nf_regnet_b0 pit_ti_224 pvt_v2_b0 rdnet_tiny regnetx_002 regnety_002 repghostnet_050 repvgg_a0 repvit_m0_9 res2net50_14w_8s
resnest14d resnet18 resnext26ts seresnet18 resnetv2_18 rexnet_100 selecsls42b legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18
starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_ns_224 tiny_vit_5m_224 tnt_s_patch16_224
tresnet_m twins_svt_small visformer_tiny vit_tiny_patch16_224 vit_small_patch16_dinov3 vit_relpos_small_patch16_224
vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224 eca_vovnet39b xception41 xcit_nano_12_p16_224
""".split()  # noqa: SIM905

_FLAT = {"embed_dim": 96, "depth": 3, "num_heads": 3}
_WINDOWS = {"embed_dim": 32, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)}
SHRUNK: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("beit_base_patch16_224", "deit3_small_patch16_224"), _FLAT),
    **dict.fromkeys(("vit_small_patch16_dinov3", "vit_relpos_small_patch16_224"), _FLAT),
    **dict.fromkeys(("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_ns_224"), _WINDOWS),
    "naflexvit_base_patch16_gap": _FLAT,
}
"""Those of which timm has only large ones, made smaller."""

TORCHVISION = """
alexnet vgg11 resnet18 wide_resnet50_2 resnext50_32x4d densenet121 googlenet inception_v3 squeezenet1_1 mobilenet_v2 mobilenet_v3_small
mnasnet0_5 shufflenet_v2_x0_5 efficientnet_b0 efficientnet_v2_s regnet_y_400mf convnext_tiny vit_b_16 swin_t swin_v2_t maxvit_t
""".split()  # noqa: SIM905

_TOWER = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96, "image_size": 64, "patch_size": 8}
_DINO = {name: value for name, value in _TOWER.items() if name != "intermediate_size"}
_PYRAMID = {"embed_dim": 24, "depths": [1, 1, 2], "num_heads": [2, 2, 4], "window_size": 4, "image_size": 64, "patch_size": 4}
_STAGES = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]}
_LEVIT = {"image_size": 64, "hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1], "key_dim": [8, 8, 8]}

HUGGING_FACE: dict[str, dict[str, Any]] = {
    "ViT": _TOWER,
    "DeiT": _TOWER,
    "Beit": _TOWER | {"use_relative_position_bias": True},
    "Data2VecVision": _TOWER,
    "Dinov2": _DINO,
    "Dinov2WithRegisters": _DINO,
    "ViTMSN": _TOWER,
    "Siglip": {"vision_config": _TOWER},
    "CLIP": {"vision_config": _TOWER},
    "Swin": _PYRAMID,
    "Swinv2": _PYRAMID,
    "ConvNext": _STAGES,
    "ConvNextV2": _STAGES,
    "ResNet": _STAGES | {"embedding_size": 16, "layer_type": "basic"},
    "RegNet": _STAGES | {"embedding_size": 16, "groups_width": 8},
    "PoolFormer": _STAGES,
    "Segformer": _STAGES,
    "MobileNetV2": {"depth_multiplier": 0.35, "image_size": 64},
    "Levit": _LEVIT,
}


@dataclass(frozen=True)
class Row:
    """A network of the table.

    Attributes:
        group: The table that it stands in.
        name: What the row is called.
        make: Makes it for a height and width, by the global generator.
        sizes: Heights and widths to try; the first that the network takes is used.
        options: Given to `Classifier`.
        function: Of the network, gives its logits as `Classifier` should; None for the network itself.
        target: Makes what is explained; None for the predicted class.
        value: What that is of logits (N, ...), by hand: (N,).
    """

    group: str
    name: str
    make: Callable[[tuple[int, int]], Any]
    sizes: tuple[tuple[int, int], ...] = SIZES
    options: Mapping[str, Any] = field(default_factory=dict)
    function: Callable[[Any], Callable[[Tensor], Any]] | None = None
    target: Callable[[], Any] | None = None
    value: Callable[[Tensor], Tensor] | None = None


def every() -> Iterator[Row]:
    """All rows, in the order of the page."""
    for name in TIMM:
        yield Row("timm", name, functools.partial(_timm, name))
    for name in TORCHVISION:
        yield Row("torchvision", name, functools.partial(_torchvision, name))
    for name, config in HUGGING_FACE.items():
        yield Row("Hugging Face", f"{name}ForImageClassification", functools.partial(_hugging_face, name, config), ((64, 64),))
    for one in strange_networks.ALL:
        size = (strange_networks.SIDE, strange_networks.SIDE)
        yield Row("Written in unusual ways", one.name, one.make, (size,), one.options, one.function, one.target, one.value)


def _timm(name: str, size: tuple[int, int]) -> nn.Module:
    import timm

    for given in ({"img_size": size}, {"img_size": size[0]}, {}):
        try:
            net: nn.Module = timm.create_model(name, num_classes=CLASSES, **given, **SHRUNK.get(name, {}))
        except (TypeError, AssertionError, ValueError, RuntimeError):
            if not given:
                raise
        else:
            break
    return net


def _torchvision(name: str, size: tuple[int, int]) -> nn.Module:
    import torchvision

    net: nn.Module
    if name == "vit_b_16":
        net = torchvision.models.VisionTransformer(size[0], 16, 3, 3, 96, 192, num_classes=CLASSES)
    elif name == "maxvit_t":
        net = torchvision.models.MaxVit(size, 16, 2, [16, 32, 64, 128], [1, 1, 1, 1], 16, 0.0, num_classes=CLASSES)
    else:
        more: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        net = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **more)
    return net


def _hugging_face(name: str, config: Mapping[str, Any], _size: tuple[int, int]) -> nn.Module:
    import transformers

    settings = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **config)
    net: nn.Module = getattr(transformers, f"{name}ForImageClassification")(settings)
    return net
