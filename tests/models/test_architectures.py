import pytest
import torch

from assay.core.registry import build
from assay.errors import SpecError
from assay.models.classifier import Classifier
from assay.models.nets.architectures import Architecture, SmallResNet
from assay.models.nets.defaults import default_architecture, default_recipe

TINY = SmallResNet(classes=3, widths=(4, 8), blocks=(1, 2), strides=(1, 2), stem=4)


def same(a, b):
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_a_network_has_as_many_logits_as_classes():
    assert TINY.make()(torch.zeros(2, 3, 16, 16)).shape == (2, 3)


@pytest.mark.parametrize("channels", [1, 4])
def test_images_may_have_other_channels(channels):
    net = SmallResNet(channels=channels, widths=(4,), blocks=(1,), strides=(2,), stem=4).make()
    assert net(torch.zeros(2, channels, 9, 7)).shape == (2, 10)


def test_strides_decide_the_last_maps_size():
    net = SmallResNet(widths=(4, 4, 4), blocks=(1, 1, 1), strides=(2, 2, 1), stem=4, stem_stride=2).make()
    stem = net.act1(net.bn1(net.conv1(torch.zeros(1, 3, 64, 64))))
    assert net.stages(stem).shape == (1, 4, 8, 8)


def test_one_seed_gives_one_network_and_another_seed_another():
    assert same(TINY.make(3), TINY.make(3))
    assert not same(TINY.make(3), TINY.make(4))


def test_making_a_network_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    TINY.make(5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_initial_weights_do_not_depend_on_the_global_generator():
    first = TINY.make(1)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(99)
        assert same(TINY.make(1), first)


def test_residual_branches_start_at_zero():
    for stage in TINY.make().stages:
        for block in stage:
            assert not block.bn2.weight.any()


def test_a_spec_builds_an_equal_architecture():
    assert build(repr(TINY), Architecture) == TINY


def test_every_batch_norm_can_be_folded_so_that_explaining_is_fast(images):
    model = Classifier(TINY.make())
    model.predict(images(2, size=16))
    assert model.folded == sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.module.modules())


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"widths": (4, 8), "blocks": (1,)}, "one number per stage"),
        ({"widths": (), "blocks": (), "strides": ()}, "one number per stage"),
        ({"widths": (4, 0, 8)}, "at least 1"),
        ({"blocks": (1, 0, 1)}, "at least 1"),
        ({"classes": 1}, "classes"),
        ({"stem": 0}, "stem"),
        ({"widths": (4.5, 8, 8)}, "widths"),
    ],
)
def test_impossible_shapes_are_refused_by_name(parameters, named):
    with pytest.raises(SpecError, match=named):
        SmallResNet(**parameters)


@pytest.mark.parametrize("side", [8, 28, 32, 48, 64, 96, 128, 224, 512, 1024])
def test_the_default_network_takes_every_image_size(side):
    net = default_architecture(classes=4, side=side).make().eval()
    with torch.no_grad():
        assert net(torch.zeros(1, 3, side, side)).shape == (1, 4)


def test_only_cifar10_is_mirrored_by_default():
    assert "Flip" in repr(default_recipe("cifar10", 32))
    assert "Flip" not in repr(default_recipe("hard-digits", 64)) + repr(default_recipe("chest", 224))
