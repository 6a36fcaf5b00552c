import captum.attr
import pytest
import torch
from torch import nn

import assay
from reference.nets import linear, plain

TARGETS = torch.tensor([1, 0, 3])
NETS = pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Softplus])


@NETS
def test_the_gradient_is_captums_saliency_with_its_sign(activation, images):
    expected = captum.attr.Saliency(plain(activation)).attribute(images().requires_grad_(), TARGETS, abs=False)
    torch.testing.assert_close(assay.Gradient()(assay.Classifier(plain(activation)), images(), TARGETS), expected, rtol=1e-5, atol=1e-5)


@NETS
def test_gradient_x_input_is_captums(activation, images):
    expected = captum.attr.InputXGradient(plain(activation)).attribute(images().requires_grad_(), TARGETS).detach()
    torch.testing.assert_close(
        assay.GradientXInput()(assay.Classifier(plain(activation)), images(), TARGETS), expected, rtol=1e-5, atol=1e-5
    )


def test_a_linear_model_has_its_weights_as_gradient(images):
    weight = torch.linspace(-1, 1, 192)
    maps = assay.Gradient()(assay.Classifier(linear(weight)), images(), torch.zeros(3, dtype=torch.int64))
    assert torch.equal(maps, weight.view(1, 3, 8, 8).expand(3, -1, -1, -1))


def test_normalisation_scales_the_gradient_of_a_linear_model(images):
    weight = torch.linspace(-1, 1, 192)
    std = torch.tensor([0.5, 0.25, 2.0])
    maps = assay.Gradient()(assay.Classifier(linear(weight), 0.3, std), images(), torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(maps[0], weight.view(3, 8, 8) / std.view(3, 1, 1))
