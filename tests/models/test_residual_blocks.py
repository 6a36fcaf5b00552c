import pytest
import torch
from timm.models.resnet import BasicBlock as TimmBasic
from timm.models.resnet import Bottleneck as TimmBottleneck
from timm.models.resnet import downsample_conv

from assay.models.nets.resnet import BasicBlock, Bottleneck


@pytest.mark.parametrize(("entry", "stride"), [(32, 1), (12, 1), (32, 2)])
@pytest.mark.parametrize(("own", "peer", "width"), [(BasicBlock, TimmBasic, 32), (Bottleneck, TimmBottleneck, 8)])
def test_a_block_is_timm_s_with_the_same_weights(images, own, peer, width, entry, stride):
    out = width * own.expansion
    shortcut = downsample_conv(entry, out, kernel_size=1, stride=stride) if stride != 1 or entry != out else None
    theirs, ours = peer(entry, width, stride=stride, downsample=shortcut), own(entry, width, stride)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = images(2, entry, 8)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    assert torch.equal(ours.train()(x), theirs.train()(x))
