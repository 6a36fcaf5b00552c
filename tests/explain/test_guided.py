"""Guided backpropagation: Captum's where ReLUs are modules, and the same however they are called."""

from functools import partial

import captum.attr
import pytest
import torch
from torch import nn

import assay
from assay.errors import ModelError
from reference.nets import Relus, plain, seeded

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:captum")
TARGETS = torch.tensor([1, 0, 2])


@pytest.fixture(scope="module")
def batch():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def test_it_is_captums(batch):
    expected = captum.attr.GuidedBackprop(plain()).attribute(batch.clone().requires_grad_(), target=TARGETS)
    torch.testing.assert_close(assay.GuidedBackprop()(assay.Classifier(plain()), batch, TARGETS), expected)


@pytest.mark.parametrize("kind", ["functional", "functional in-place", "reused", "in-place", "shared"])
def test_ways_of_calling_a_relu_make_no_difference(kind, batch):
    expected = assay.GuidedBackprop()(assay.Classifier(seeded(lambda: Relus("modules")).eval()), batch, TARGETS)
    torch.testing.assert_close(assay.GuidedBackprop()(assay.Classifier(seeded(lambda: Relus(kind)).eval()), batch, TARGETS), expected)
    assert expected.abs().max() > 0


class HalfPassed(nn.Module):
    """A ReLU on half of the channels, in place on that part of them, or put together anew."""

    def __init__(self, in_place):
        super().__init__()
        self.conv, self.head, self.in_place = nn.Conv2d(3, 4, 3), nn.Linear(4, 3), in_place

    def forward(self, x):
        x = self.conv(x)
        if self.in_place:
            x[:, :2].relu_()
        else:
            x = torch.cat([x[:, :2].relu(), x[:, 2:]], 1)
        return self.head(x.square().mean((2, 3)))


def test_a_relu_in_place_on_part_of_a_tensor_is_guided_too(batch):
    models = [assay.Classifier(seeded(partial(HalfPassed, in_place)).eval()) for in_place in (False, True)]
    one, other = (assay.GuidedBackprop()(model, batch, TARGETS) for model in models)
    torch.testing.assert_close(other, one)
    assert not torch.allclose(one, assay.Gradient()(models[0], batch, TARGETS))


def test_an_image_known_by_hand():
    """f = relu(-relu(a) + 3 relu(b)) of pixels a, b: the way by a is negative on the way back, and gone."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.eye(2))
        net[3].weight.copy_(torch.tensor([[-1.0, 3.0]]))
        net[5].weight.copy_(torch.tensor([[2.0], [0.0]]))
    image = torch.tensor([0.5, 0.25]).view(1, 1, 1, 2)
    assert assay.GuidedBackprop()(assay.Classifier(net), image, [0]).flatten().tolist() == [0.0, 6.0]
    assert assay.Gradient()(assay.Classifier(net), image, [0]).flatten().tolist() == [-2.0, 6.0]


def test_it_refuses_a_network_without_a_relu_where_it_would_be_the_gradient(batch):
    with pytest.raises(ModelError, match=r"Sequential has no ReLU, where GuidedBackprop is the gradient; take Gradient\(\)"):
        assay.GuidedBackprop()(assay.Classifier(plain(nn.Tanh)), batch, TARGETS)


def test_other_activations_keep_their_gradients(batch):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    seeded(lambda: net.apply(lambda one: one.reset_parameters() if hasattr(one, "reset_parameters") else None))
    found = assay.GuidedBackprop()(assay.Classifier(net), batch, TARGETS)
    expected = captum.attr.GuidedBackprop(net.eval()).attribute(batch.clone().requires_grad_(), target=TARGETS)
    torch.testing.assert_close(found, expected)


def test_its_known_failure_is_in_its_facts_and_is_there():
    """Random weights leave it much as it was, where nothing is left of the gradient (Adebayo et al. 2018)."""
    assert "Adebayo" in assay.GuidedBackprop.pitfalls
    digits, model = assay.data.read(assay.data.load("hard-digits"), range(4)), assay.load("hard-digits")
    left = {}
    for explainer in (assay.Gradient(), assay.GuidedBackprop()):
        maps = explainer(model, digits.images)
        left[type(explainer).__name__] = float(assay.ParameterRandomisation()(model, digits.images, maps, explainer=explainer).mean())
    assert abs(left["Gradient"]) < 0.1
    assert left["GuidedBackprop"] > 0.5
