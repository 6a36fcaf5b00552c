import pytest
import torch
from torch import nn
from torch.nn import functional as F

import assay
from assay.attack.forms.softened import Softened
from reference.guards import snapshot
from reference.nets import Relus, plain, seeded

BETA = 7.0


def pixels(count=3, size=8):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def soft(x):
    return F.softplus(x, BETA)


@pytest.mark.parametrize("kind", ["module", "functional", "functional in-place", "reused", "in-place", "shared"])
def test_every_way_of_writing_a_relu_becomes_the_same_softplus(kind):
    net = seeded(lambda: Relus(kind)).eval()
    expected = net.last(soft(net.second(soft(net.first(pixels())))).mean((2, 3)) * 10)
    model = assay.Classifier(net)
    model.predict(pixels())
    before = snapshot(model.module)
    torch.testing.assert_close(Softened(model, BETA).forward(pixels()), expected)
    assert snapshot(model.module) == before
    torch.testing.assert_close(model.logits(pixels()), net(pixels()).detach())


@pytest.mark.parametrize(
    ("function", "softened"),
    [
        (nn.LeakyReLU(0.2), lambda x: 0.2 * x + 0.8 * soft(x)),
        (nn.LeakyReLU(0.2, inplace=True), lambda x: 0.2 * x + 0.8 * soft(x)),
        (nn.PReLU(6, 0.3), lambda x: 0.3 * x + 0.7 * soft(x)),
        (nn.ReLU6(), lambda x: soft(x) - soft(x - 6)),
        (nn.ReLU6(inplace=True), lambda x: soft(x) - soft(x - 6)),
        (F.relu6, lambda x: soft(x) - soft(x - 6)),
        (nn.Hardtanh(-0.5, 2.0), lambda x: -0.5 + soft(x + 0.5) - soft(x - 2)),
        (nn.GELU(), F.gelu),
        (lambda x: x.clamp(min=0), soft),
        (lambda x: torch.clamp_min(x, 0), soft),
        (lambda x: x.clamp(-1, 1), lambda x: x.clamp(-1, 1)),
        (lambda x: x.relu_(), soft),
        (lambda x: F.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 2)),
    ],
)
def test_relatives_of_the_relu_are_softened_and_the_rest_is_left(function, softened):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = seeded(lambda: nn.Conv2d(3, 6, 3))
            self.function = function

        def forward(self, x):
            return self.function(self.conv(4 * x)).mean((2, 3))

    net = Net()
    torch.testing.assert_close(Softened(assay.Classifier(net), BETA).forward(pixels()), softened(net.conv(4 * pixels())).mean((2, 3)))


def test_a_large_beta_gives_the_model_itself():
    model = assay.Classifier(plain(), mean=0.5, std=0.2)
    torch.testing.assert_close(Softened(model, 1e4).forward(pixels()), model.logits(pixels()), rtol=1e-3, atol=1e-3)


def test_passes_are_the_models_and_sixteen_bits_become_thirty_two():
    model = assay.Classifier(plain(), precision="bfloat16")
    model.count_classes((3, 8, 8))
    copy = Softened(model, BETA)
    logits, slopes = copy.slopes(pixels().requires_grad_(), torch.zeros(3, dtype=torch.int64))
    assert logits.dtype == slopes.dtype == torch.float32
    assert next(copy.module.parameters()).dtype == torch.float32
    assert next(model.module.parameters()).dtype == torch.bfloat16
    assert (model.passes.forward, model.passes.backward) == (3, 3)


def test_a_relu_network_has_a_slope_of_its_gradient_only_when_softened():
    model = assay.Classifier(plain())

    def curvature(one):
        x = pixels().requires_grad_()
        slope = torch.autograd.grad(one.forward(x)[:, 0].sum(), x, create_graph=True)[0]
        total = slope.square().sum()
        return torch.autograd.grad(total, x, allow_unused=True)[0] if total.requires_grad else None

    hard = curvature(model)
    assert hard is None or hard.abs().max() == 0
    assert curvature(Softened(model, BETA)).abs().max() > 0
