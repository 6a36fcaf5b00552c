"""The architectures that Assay builds itself; importing this module makes all of them known to specs."""

from assay.models.nets.architecture import Architecture
from assay.models.nets.convmixer import ConvMixer
from assay.models.nets.googlenet import GoogLeNet
from assay.models.nets.resnet import ResidualNet, SmallResNet
from assay.models.nets.swin import Swin
from assay.models.nets.vgg import VGG
from assay.models.nets.vit import ViT

__all__ = ["VGG", "Architecture", "ConvMixer", "GoogLeNet", "ResidualNet", "SmallResNet", "Swin", "ViT"]
