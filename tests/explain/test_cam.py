import copy
import math

import pytest
import torch
from pytorch_grad_cam import GradCAM as Peer
from pytorch_grad_cam import GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer as TorchvisionVit

import assay
from assay.errors import ModelError, SpecError
from assay.explain.features.cam import grad_cam, grad_cam_pp, layer_cam
from assay.models.nets.architectures import SmallResNet
from reference import layers as reference
from reference.guards import snapshot
from reference.nets import Relus, normed, plain, scramble_norms, seeded

TARGETS = torch.tensor([1, 0, 2])


def vit(**more):
    more = {"img_size": 16, "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 2, "num_classes": 3} | more
    return seeded(lambda: VisionTransformer(**more)).eval()


def residual():
    return scramble_norms(SmallResNet(classes=3, widths=(8, 8), blocks=(1, 2), strides=(2, 2), stem=8).make()).eval()


def peers(net, layer, images, targets, reshape=None, peer=Peer):
    """The peer's maps, which it scales to [0, 1]."""
    with peer(net, [dict(net.named_modules())[layer]], reshape_transform=reshape) as made:
        return torch.from_numpy(made(images.clone(), [ClassifierOutputTarget(int(target)) for target in targets]))[:, None]


def unit(maps):
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-12)


def tokens(output):
    return output[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("layer", ["0", "1", "2", "3"])
def test_a_map_is_its_slow_twin(layer, images):
    net = plain()
    found = assay.GradCAM(layer)(assay.Classifier(net), images(), TARGETS)
    for one, image, target in zip(found, images(), TARGETS, strict=True):
        torch.testing.assert_close(one[0], reference.grad_cam(net, layer, image, target), rtol=1e-5, atol=1e-5)
    assert found.max() > 0


@pytest.mark.parametrize(("layer", "network"), [("stages.1", "stages.1"), (None, "stages"), ("stages.0.0.act1", "stages.0.0.act1")])
def test_it_is_the_peers_on_a_residual_network(layer, network, images):
    net, batch = residual(), images(size=16)
    found = assay.GradCAM(layer)(assay.Classifier(net), batch, TARGETS)
    torch.testing.assert_close(unit(found), peers(net, network, batch, TARGETS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("explainer", "peer"), [(assay.GradCAMpp, GradCAMPlusPlus), (assay.LayerCAM, LayerCAM)])
@pytest.mark.parametrize(("layer", "network"), [("stages.1", "stages.1"), (None, "stages"), ("stages.0.0.act1", "stages.0.0.act1")])
def test_its_kin_are_the_peers_on_a_residual_network(explainer, peer, layer, network, images):
    net, batch = residual(), images(size=16)
    with torch.no_grad():
        net.fc.weight.mul_(30)  # The peer adds 1e-6 to divisors.
    found = explainer(layer)(assay.Classifier(net), batch, TARGETS)
    torch.testing.assert_close(unit(found), peers(net, network, batch, TARGETS, peer=peer), rtol=1e-3, atol=1e-3)
    assert found.amax((1, 2, 3)).max() > 0


def test_a_convolutions_features_are_its_own_where_its_batch_norm_is_folded(images):
    net, batch, layer = residual(), images(size=16), "stages.0.0.conv1"
    model = assay.Classifier(net)
    found = assay.GradCAM(layer)(model, batch, TARGETS)
    assert model.folded
    torch.testing.assert_close(unit(found), peers(net, layer, batch, TARGETS), rtol=1e-4, atol=1e-4)


def test_a_vision_transformer_is_explained_before_its_last_attention_as_the_peer_advises(images):
    net, batch = vit(), images(size=16)
    generator = torch.Generator().manual_seed(2)
    for parameter in net.parameters():  # Versions of timm begin with other weights.
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    found = assay.GradCAM()(assay.Classifier(net), batch, TARGETS)
    torch.testing.assert_close(found, assay.GradCAM("blocks.1.norm1")(assay.Classifier(net), batch, TARGETS))
    torch.testing.assert_close(unit(found), peers(net, "blocks.1.norm1", batch, TARGETS, tokens), rtol=1e-4, atol=1e-4)
    assert found.amax((1, 2, 3)).min() > 0


@pytest.mark.parametrize(
    ("net", "layer"),
    [
        (lambda: vit(global_pool="avg", class_token=False, fc_norm=False), "norm"),
        (lambda: vit(reg_tokens=4), "blocks.1.norm1"),
        (lambda: TorchvisionVit(16, 4, 2, 2, 12, 24, num_classes=3), "encoder.layers.encoder_layer_1.ln_1"),
        (lambda: SwinTransformer(16, 2, 3, 3, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4), "norm"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), "1"),
    ],
    ids=["pooled tokens", "register tokens", "torchvision", "swin", "convolution"],
)
def test_the_last_layer_over_the_image_is_found(net, layer, images):
    model = assay.Classifier(seeded(net).eval())
    generator = torch.Generator().manual_seed(0)
    for parameter in model.module.parameters():  # Some heads start at zero.
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    batch = images(size=16)
    found = assay.GradCAM()(model, batch, TARGETS)
    torch.testing.assert_close(found, assay.GradCAM(layer)(model, batch, TARGETS))
    assert found.max() > 0


def test_a_head_of_zeros_gives_a_map_of_zeros_of_the_last_layer(images):
    net = plain()
    nn.init.zeros_(net[-1].weight)
    maps = assay.GradCAM()(assay.Classifier(net), images(), TARGETS)
    assert torch.equal(maps, torch.zeros(3, 1, 8, 8))


def test_attention_that_is_not_fused_is_not_taken_for_features(images):
    net = vit()
    for block in net.blocks:
        block.attn.fused_attn = False
    fused = assay.GradCAM()(assay.Classifier(vit()), images(size=16), TARGETS)
    torch.testing.assert_close(assay.GradCAM()(assay.Classifier(net), images(size=16), TARGETS), fused, rtol=1e-4, atol=1e-6)


def test_tokens_of_an_oblong_image_lie_where_their_patches_do(images):
    """Only one patch has anything to say, so that the map must peak inside it."""
    net = vit(img_size=(8, 24), global_pool="avg", class_token=False, fc_norm=False)
    grid = assay.GradCAM("patch_embed")(assay.Classifier(net), torch.rand(1, 3, 8, 24, generator=torch.Generator().manual_seed(0)), [1])
    assert grid.shape == (1, 1, 8, 24)
    features = torch.zeros(1, 12, 2, 3)
    features[0, :, 1, 2] = 1.0
    assert grad_cam(features, torch.ones_like(features)).flatten().argmax() == 5


@pytest.mark.parametrize("kind", ["functional", "functional in-place", "reused", "in-place", "shared", "modules"])
def test_ways_of_using_a_relu_make_no_difference_to_a_named_convolution(kind, images):
    expected = assay.GradCAM("second")(assay.Classifier(seeded(lambda: Relus("modules")).eval()), images(), TARGETS)
    found = assay.GradCAM("second")(assay.Classifier(seeded(lambda: Relus(kind)).eval()), images(), TARGETS)
    torch.testing.assert_close(found, expected)
    assert found.max() > 0


def test_of_a_layer_that_runs_twice_the_last_run_over_the_image_counts(images):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Linear(3, 3)

        def forward(self, x):
            features = self.relu(self.conv(self.relu(self.conv(x))))
            return self.last(self.relu(features.mean((2, 3))))

    class Once(Twice):
        def forward(self, x):
            features = F.relu(self.conv(F.relu(self.conv(x))))
            return self.last(F.relu(self.relu(features).mean((2, 3))))

    twice, once = (assay.Classifier(seeded(make)) for make in (Twice, Once))
    found = assay.GradCAM()(twice, images(), TARGETS)
    torch.testing.assert_close(found, assay.GradCAM("relu")(once, images(), TARGETS))
    assert found.max() > 0


def test_one_forward_and_one_backward_pass_per_image(images):
    model = assay.Classifier(normed())
    assay.GradCAM()(model, images(7, size=9))
    assert (model.passes.forward, model.passes.backward) == (7, 7)


def test_bfloat16_agrees_with_float32(images):
    net = SmallResNet(classes=3, widths=(8, 16), blocks=(1, 1), strides=(2, 2), stem=8).make()
    exact, rough = (assay.GradCAM()(assay.Classifier(net, precision=kind), images(size=16), TARGETS) for kind in ("float32", "bfloat16"))
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.05 * exact.max().item())


def test_a_compiled_model_is_looked_into_uncompiled(images, monkeypatch):
    """Compiled code calls no hooks put on later; a copy of the network does not either."""
    monkeypatch.setattr(torch, "compile", lambda module, **_: copy.deepcopy(module))
    plainly, compiled = (assay.Classifier(normed(), compile=way) for way in (False, True))
    usual = compiled._run
    for explainer in (assay.GradCAM(), assay.FullGrad(), assay.SimpleFullGrad()):
        assert torch.equal(explainer(compiled, images(), TARGETS), explainer(plainly, images(), TARGETS))
        assert compiled._run is usual


def test_hooks_are_gone_afterwards_also_after_an_exception(images):
    model = assay.Classifier(normed())
    model.predict(images())
    before = snapshot(model.module)
    assay.GradCAM()(model, images())
    assert snapshot(model.module) == before
    with pytest.raises(ModelError):
        assay.GradCAM("8")(model, images())
    assert snapshot(model.module) == before


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("layer5", "has no layer 'layer5'; near it are layer4"),
        ("classifier", "has no layer 'classifier'; near it are "),
        ("fc", r"the layer fc of Net gives shape \(3, 3\)"),
        ("unused", "the layer unused of Net gives nothing: it does not run"),
        ("apart", "does not depend on its layer apart"),
        ("pair", "the layer pair of Net gives a tuple"),
    ],
)
def test_a_layer_that_cannot_serve_is_refused_by_name(layer, message, images):
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer4, self.fc, self.unused, self.apart, self.pair = nn.Conv2d(3, 3, 3), nn.Linear(3, 3), nn.ReLU(), nn.ReLU(), Pair()

        def forward(self, x):
            x = self.pair(self.layer4(x))[0]
            self.apart(x)
            return self.fc(x.mean((2, 3)))

    with pytest.raises(ModelError, match=message):
        assay.GradCAM(layer)(assay.Classifier(Net()), images(), TARGETS)


def test_a_network_without_a_layer_over_the_image_is_refused_by_name(images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with pytest.raises(ModelError, match="Sequential has no layer with features that lie over the image; explain it by Gradient"):
        assay.GradCAM()(assay.Classifier(net), images(), TARGETS)


def test_a_layer_is_a_name():
    with pytest.raises(SpecError, match="GradCAM: layer must be a text or None"):
        assay.GradCAM(4)


def test_the_map_of_two_features_is_known_by_hand():
    """Weights are the mean gradients 1 and -2: 1 * 3 - 2 * 1 = 1 at one place, 0 - 2 below zero at the other."""
    features = torch.tensor([[[[3.0, 0.0]], [[1.0, 1.0]]]])
    slopes = torch.tensor([[[[2.0, 0.0]], [[-3.0, -1.0]]]])
    assert grad_cam(features, slopes).tolist() == [[[[1.0, 0.0]]]]
    assert math.isclose(float(slopes.mean((2, 3))[0, 1]), -2)


def test_the_positive_gradients_of_two_features_are_known_by_hand():
    """GradCAM++: the only positive gradient, 2, has the divisor 2 + 3 * 2 = 8, so that channel 0 weighs 1/4. LayerCAM: 2 * 3."""
    features = torch.tensor([[[[3.0, 0.0]], [[1.0, 1.0]]]])
    slopes = torch.tensor([[[[2.0, 0.0]], [[-3.0, -1.0]]]])
    assert grad_cam_pp(features, slopes).tolist() == [[[[0.75, 0.0]]]]
    assert layer_cam(features, slopes).tolist() == [[[[6.0, 0.0]]]]


def test_a_place_whose_divisor_is_not_positive_has_no_weight():
    """2 + (-4) * 1 < 0: features below zero, which a ReLU would not leave."""
    assert grad_cam_pp(torch.tensor([[[[-4.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0]]]])).tolist() == [[[[0.0, 0.0]]]]
