import pytest
import torch

from assay.core.registry import build
from assay.errors import ModelError, SpecError
from assay.models.classifier import Classifier
from assay.models.nets.architectures import VGG, Architecture, ConvMixer, GoogLeNet, SmallResNet, Swin, ViT
from assay.models.nets.named import NAMED, named_architecture

SMALL = [name for name in NAMED if name.endswith("small")]
TINY = [
    ViT(classes=3, size=16, width=16, depth=2, heads=2),
    ViT(classes=3, size=16, width=16, depth=1, heads=2, class_token=True, dropout=0.1),
    ConvMixer(classes=3, width=8, depth=2),
    Swin(classes=3, size=16, width=8, depths=(1, 2), heads=(1, 2), window=2, drop_path=0.1),
    SmallResNet(classes=3, widths=(8,), blocks=(1,), strides=(2,), stem=8),
    SmallResNet(classes=3, widths=(8, 8), blocks=(2, 1), strides=(2, 1), stem=8, block="bottleneck"),
    VGG(classes=3, widths=(8, 16), convolutions=(1, 2)),
    GoogLeNet(classes=3, width=0.125, modules=(2, 1, 1)),
]
EVERY = pytest.mark.parametrize("architecture", TINY, ids=repr)


@EVERY
def test_a_spec_builds_an_equal_architecture(architecture):
    assert build(repr(architecture), Architecture) == architecture


@EVERY
def test_one_seed_gives_one_network_and_the_global_generator_stays(architecture, untouched):
    with untouched():
        first, again, other = (architecture.make(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@EVERY
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_a_classifiers_copy_computes_the_same(architecture, precision, tolerance, images):
    net, pixels = architecture.make().eval(), images(5, size=16)
    logits = Classifier(net, precision=precision).logits(pixels)
    assert logits.shape == (5, 3)
    assert torch.allclose(logits, net(pixels).detach(), atol=tolerance)


@EVERY
def test_gradients_at_the_pixels_have_gradients_too_which_attacks_on_maps_need(architecture, images):
    pixels = images(2, size=16).requires_grad_()
    net = architecture.make().eval()
    gradient = torch.autograd.grad(net(pixels)[:, 0].sum(), pixels, create_graph=True)[0]
    second = torch.autograd.grad(gradient.square().sum(), pixels, allow_unused=True)[0]
    # A network of ReLUs bends at its kinks alone.
    assert isinstance(architecture, SmallResNet | VGG | GoogLeNet) or float(second.abs().max()) > 0


def test_batch_norms_that_a_convolution_feeds_are_folded(images):
    # ConvMixer has its activations in between, so nothing may be folded there.
    model = Classifier(TINY[2].make())
    model.predict(images(2, size=16))
    assert model.folded == 0


@pytest.mark.parametrize("architecture", [TINY[0], TINY[3]], ids=repr)
def test_a_transformer_takes_one_size_only(architecture):
    architecture.check((3, 16, 16))
    with pytest.raises(ModelError, match="size=16, but the images are 32x16"):
        architecture.check((3, 32, 16))


@EVERY
def test_images_of_other_channels_are_refused(architecture):
    with pytest.raises(ModelError, match="channels=3, but the images have 1"):
        architecture.check((1, 16, 16))


@pytest.mark.parametrize("name", NAMED)
def test_a_named_architecture_gets_the_datas_classes(name):
    found = named_architecture(name, 7)
    assert found.classes == 7
    found.check((3, 32, 32))
    with torch.device("meta"):
        head = list(found._net().parameters())[-1]
    assert head.shape == (7,)


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_are_small_and_two_of_each_fit_into_15_megabytes(name):
    sizes = {one: sum(parameter.numel() for parameter in NAMED[one].make().parameters()) for one in SMALL}
    assert 2 * 2 * sum(sizes.values()) < 15e6
    with torch.no_grad():
        assert NAMED[name].make().eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_spec_keeps_its_own_classes_and_a_wrong_name_is_answered_with_the_nearest():
    assert named_architecture("ViT(classes=4)", 10) == ViT(classes=4)
    with pytest.raises(SpecError, match="did you mean vit-small"):
        named_architecture("vit-smal", 10)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ViT(patch=5), "patch"),
        (lambda: ViT(width=10, heads=4), "heads"),
        (lambda: ViT(dropout=1.0), "dropout"),
        (lambda: ViT(mlp=0.0), "mlp"),
        (lambda: ConvMixer(kernel=4), "kernel"),
        (lambda: ConvMixer(depth=0), "depth"),
        (lambda: Swin(size=30), "size"),
        (lambda: Swin(depths=(2,)), "depths and heads"),
        (lambda: Swin(depths=(), heads=()), "depths and heads"),
        (lambda: Swin(width=9), "heads"),
        (lambda: Swin(drop_path=-0.1), "drop_path"),
    ],
)
def test_impossible_shapes_are_refused_by_name(make, named):
    with pytest.raises(SpecError, match=named):
        make()


def parameters(net):
    return sum(one.numel() for one in net.parameters())


def test_the_papers_backbones_have_the_published_sizes():
    """Without their original heads and stems for 224 pixels: torchvision's ResNet-50 has 23.5 million before its last layer, VGG16 14.7."""
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):  # Sizes need no values.
        nets = {name: NAMED[name].make() for name in ("bottleneck-paper", "vgg-paper", "googlenet-paper")}
        theirs, features = torchvision.models.resnet50(num_classes=10), torchvision.models.vgg16_bn(num_classes=10).features
    stem = 64 * 3 * (7 * 7 - 3 * 3)
    assert parameters(nets["bottleneck-paper"]) == parameters(theirs) - stem
    biases = sum(one.bias.numel() for one in features if isinstance(one, torch.nn.Conv2d))
    assert parameters(nets["vgg-paper"]) == parameters(features) - biases + 512 * 10 + 10
    modules = 1e3 * (159 + 380 + 364 + 437 + 463 + 580 + 840 + 1072 + 1388)  # Table 1 of the paper, in thousands.
    assert parameters(nets["googlenet-paper"]) == pytest.approx(modules + 3 * 9 * 192 + 1024 * 10, rel=0.04)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("VGG(widths=(8, 16), convolutions=(1,))", "one number from 1 up per stage"),
        ("GoogLeNet(width=0.01)", "without channels"),
        ("GoogLeNet(modules=(1, 6, 1))", "three numbers"),
        ("SmallResNet(block='wide')", "block"),
    ],
)
def test_impossible_shapes_of_the_papers_backbones_are_refused(spec, named):
    with pytest.raises(SpecError, match=named):
        build(spec, Architecture)
