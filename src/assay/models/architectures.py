"""The architectures that Assay builds itself; importing this module makes all of them known to specs."""

from assay.models.architecture import Architecture
from assay.models.convmixer import ConvMixer
from assay.models.resnet import ResidualNet, SmallResNet
from assay.models.swin import Swin
from assay.models.vit import ViT

__all__ = ["Architecture", "ConvMixer", "ResidualNet", "SmallResNet", "Swin", "ViT"]
