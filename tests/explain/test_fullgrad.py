import pytest
import torch
from pytorch_grad_cam import FullGrad as Peer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

import assay
from assay.errors import ModelError, SpecError
from assay.explain.features.fullgrad import rescaled
from assay.models.nets.architectures import SmallResNet
from reference.guards import snapshot
from reference.layers import full_grad
from reference.nets import Relus, normed, plain, scramble_norms, seeded

TARGETS = torch.tensor([1, 0, 2])
BOTH = pytest.mark.parametrize("explainer", [assay.FullGrad, assay.SimpleFullGrad])
KINDS = ["functional", "functional in-place", "reused", "in-place", "shared", "modules"]


def residual():
    return scramble_norms(SmallResNet(classes=3, widths=(8, 8), blocks=(1, 2), strides=(2, 2), stem=8).make()).eval()


class Unfolded(nn.Module):
    """Two convolutions and batch norms that cannot be folded, since a ReLU or a second reader stands between them."""

    def __init__(self, affine=True):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5, affine=affine)
        self.pool, self.last = nn.MaxPool2d(2), nn.Linear(5, 3)

    def forward(self, x):
        x = self.conv(x)
        return self.last(self.pool(F.relu(self.norm(F.relu(x)) + x)).sum((2, 3)))


def unit(maps):
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low)


@BOTH
@pytest.mark.parametrize("scaling", ["layer", "channel"])
@pytest.mark.parametrize("net", [plain, lambda: scramble_norms(Unfolded()).eval()], ids=["plain", "batch norm"])
def test_a_map_is_its_slow_twin(explainer, scaling, net, images):
    net = seeded(net)
    found = explainer(scaling)(assay.Classifier(net), images(), TARGETS)
    for one, image, target in zip(found, images(), TARGETS, strict=True):
        expected, left = full_grad(net, image, target, scaling, explainer is assay.SimpleFullGrad)
        torch.testing.assert_close(one[0], expected, rtol=1e-4, atol=1e-4)
        assert abs(left) < 1e-4


def test_it_is_the_peers_which_rescales_each_channel(images, capsys):
    """The peer takes a residual network's folded convolutions as any other."""
    model, batch = assay.Classifier(residual()), images(size=16)
    found = assay.FullGrad("channel")(model, batch, TARGETS)
    for parameter in model.module.parameters():
        parameter.requires_grad_()
    for module in model.module.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    for name, module in list(model.module.named_modules()):
        if isinstance(module, nn.BatchNorm2d):  # Folded: what is left of it adds nothing.
            parent, _, child = name.rpartition(".")
            setattr(model.module.get_submodule(parent), child, nn.Identity())
    with Peer(model.module, []) as peer:
        theirs = peer(batch.clone(), [ClassifierOutputTarget(int(target)) for target in TARGETS])
    capsys.readouterr()
    torch.testing.assert_close(unit(found), torch.from_numpy(theirs)[:, None], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("net", [plain, normed, residual, lambda: scramble_norms(Unfolded(affine=False))])
def test_gradients_at_input_and_biases_explain_all_of_a_relu_networks_logit(net, images):
    model = assay.Classifier(seeded(net).eval(), mean=(0.4, 0.5, 0.6), std=0.25)
    logits = model.logits(images())
    left = assay.FullGrad().residual(model, images(), TARGETS)
    assert left.shape == (3,)
    assert left.abs().max() < 1e-5 * logits.abs().max()
    assert logits.gather(1, TARGETS[:, None]).abs().max() > 0.1


def test_the_residual_is_of_the_predicted_class_without_targets(images):
    model = assay.Classifier(seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 3))))
    batch = images(9)
    found = assay.FullGrad().residual(model, batch)
    torch.testing.assert_close(found, assay.FullGrad().residual(model, batch, model.predict(batch)))
    assert found.abs().max() > 1e-3  # A tanh leaves a rest, and it is told.


@pytest.mark.parametrize("kind", KINDS)
def test_ways_of_using_a_relu_make_no_difference(kind, images):
    def found(kind):
        model = assay.Classifier(seeded(lambda: Relus(kind)).eval())
        assert assay.FullGrad().residual(model, images(), TARGETS).abs().max() < 1e-5
        return [explainer(model, images(), TARGETS) for explainer in (assay.FullGrad(), assay.SimpleFullGrad())]

    for one, other in zip(found(kind), found("modules"), strict=True):
        torch.testing.assert_close(one, other)


def test_shared_wrapped_and_functional_layers_count_at_every_call(images):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.block = Conv2dNormActivation(3, 4, 3)
            self.free = nn.Parameter(torch.randn(4, 4, 3, 3))
            self.bias = nn.Parameter(torch.randn(4))
            self.last = nn.Linear(4, 3)

        def forward(self, x):
            x = self.block(F.relu(self.conv(F.relu(self.conv(x)))))
            x = F.relu(F.conv2d(x, self.free, bias=self.bias, padding=1))
            return self.last(x.permute(0, 2, 3, 1)).sum((1, 2))

    model = assay.Classifier(scramble_norms(seeded(Net)).eval())
    assert assay.FullGrad().residual(model, images(), TARGETS).abs().max() < 1e-4 * model.logits(images()).abs().max()
    assert assay.FullGrad()(model, images(), TARGETS).isfinite().all()


@BOTH
def test_a_network_that_works_in_place_on_its_input_is_explained_rightly(explainer, images):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain()

        def forward(self, x):
            return self.net(x.mul_(2.0))

    doubled = explainer()(assay.Classifier(plain(), mean=0.0, std=0.5), images(), TARGETS)
    torch.testing.assert_close(explainer()(assay.Classifier(InPlace()), images(), TARGETS), doubled)


@BOTH
def test_one_forward_and_one_backward_pass_per_image(explainer, images):
    model = assay.Classifier(normed())
    explainer()(model, images(7, size=9))
    assert (model.passes.forward, model.passes.backward) == (7, 7)


@BOTH
def test_bfloat16_agrees_with_float32(explainer, images):
    batch = images(size=16)
    exact, rough = (explainer()(assay.Classifier(residual(), precision=kind), batch, TARGETS) for kind in ("float32", "bfloat16"))
    assert rough.dtype == torch.float32
    assert (rough - exact).norm() < 0.1 * exact.norm()  # Rounding flips single ReLUs, whose places may differ by more.


@BOTH
def test_nothing_of_the_scores_size_is_in_a_map(explainer, images):
    """Tiny scores, such as probabilities of unlikely classes, are rescaled like any other."""

    def scaled(factor):
        net = plain()
        with torch.no_grad():
            net[-1].weight.mul_(factor)
        return explainer()(assay.Classifier(net), images(), TARGETS)

    torch.testing.assert_close(scaled(2.0**-40), scaled(1.0))


@BOTH
def test_nothing_is_left_on_the_network_also_after_an_exception(explainer, images):
    model = assay.Classifier(normed())
    model.predict(images())
    before = snapshot(model.module)
    explainer()(model, images())
    assert snapshot(model.module) == before
    flat = assay.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)))
    flat.predict(images())
    before = snapshot(flat.module)
    with pytest.raises(ModelError, match="Sequential has no convolution"):
        explainer()(flat, images())
    assert snapshot(flat.module) == before


@BOTH
def test_a_network_that_folds_parts_of_an_image_into_the_batch_is_refused(explainer, images):
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 3, 3), nn.Linear(3, 3)

        def forward(self, x):
            parts = torch.cat(x.split(4, 2))
            return self.last(self.conv(parts).mean((2, 3)).unflatten(0, (2, -1)).mean(0))

    with pytest.raises(ModelError, match="Parts puts several parts of an image into one batch"):
        explainer()(assay.Classifier(Parts()), images())


@BOTH
def test_linear_layers_lie_over_the_image_only_where_their_places_do(explainer, images):
    """The same linear layer over features with the channels last, and over those of an image cut into 2 x 32 places."""

    class Mixed(nn.Module):
        def __init__(self, cut):
            super().__init__()
            self.conv, self.mix, self.last, self.cut = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4), nn.Linear(4, 3), cut

        def forward(self, x):
            x = self.conv(x).permute(0, 2, 3, 1)
            x = self.mix(x.reshape(len(x), 2, 32, 4) if self.cut else x)
            return self.last(F.relu(x).mean((1, 2)))

    model, cut = (assay.Classifier(seeded(lambda way=way: Mixed(way))) for way in (False, True))
    assert assay.FullGrad().residual(cut, images(), TARGETS).abs().max() < 1e-5
    more = explainer()(model, images(), TARGETS) - explainer()(cut, images(), TARGETS)
    assert more.min() > -1e-5
    assert more.max() > 0.1


@BOTH
def test_an_unknown_scaling_is_refused(explainer):
    with pytest.raises(SpecError, match=f"{explainer.__name__}: scaling must be one of 'layer', 'channel'"):
        explainer("image")


def test_rescaling_is_known_by_hand():
    values = torch.tensor([[[[-4.0, 2.0]], [[1.0, 1.0]]]])
    assert rescaled(values, "layer")[0, 0, 0].tolist() == pytest.approx([1.0, 1 / 3])
    assert rescaled(values, "channel")[0, 0, 0].tolist() == [1.0, 0.0]
    assert rescaled(torch.zeros(1, 2, 1, 2), "layer").tolist() == [[[[0.0, 0.0]]]]
