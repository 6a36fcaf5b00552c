import captum.attr
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import assay
from assay.explain.path import quadrature
from reference.nets import Function, linear, plain

TARGETS = torch.tensor([1, 0, 3])
NETS = pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Softplus])
RULES = {"gauss_legendre": "gausslegendre", "midpoint": "riemann_middle"}
ZEROS = torch.zeros(3, dtype=torch.int64)


@NETS
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 10, 25])
def test_plain_quadrature_is_captums(activation, rule, steps, images):
    explainer = captum.attr.IntegratedGradients(plain(activation))
    expected = explainer.attribute(images(), target=TARGETS, n_steps=steps, method=RULES[rule]).detach().float()
    model = assay.Classifier(plain(activation))
    found = assay.IntegratedGradients(steps=steps, rule=rule, complete=False)(model, images(), TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("steps", [2, 3, 10])
def test_the_trapezoid_rule_is_numpys(steps, images):
    base = assay.Constant(0.25).fill(images(), torch.arange(3), 0)
    points = torch.linspace(0, 1, steps)
    slices = [assay.Gradient()(assay.Classifier(plain()), base + p * (images() - base), TARGETS).numpy() for p in points]
    expected = np.trapezoid(np.stack(slices).astype(np.float64), points.double().numpy(), axis=0) * (images() - base).numpy()
    explainer = assay.IntegratedGradients(steps=steps, rule="trapezoid", baseline=assay.Constant(0.25), complete=False)
    found = explainer(assay.Classifier(plain()), images(), TARGETS)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5 * np.abs(expected).max().item())


@pytest.mark.parametrize("baseline", [assay.Constant(0.5), assay.MeanColour(), assay.Blur(2.0)], ids=repr)
def test_other_baselines_are_captums(baseline, images):
    base = baseline.fill(images(), torch.arange(3), 0)
    explainer = captum.attr.IntegratedGradients(plain(nn.GELU))
    expected = explainer.attribute(images(), baselines=base, target=TARGETS, n_steps=8, method="gausslegendre").detach().float()
    found = assay.IntegratedGradients(8, baseline, "gauss_legendre", complete=False)(assay.Classifier(plain(nn.GELU)), images(), TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@given(st.sampled_from(["gauss_legendre", "midpoint", "trapezoid"]), st.integers(1, 200))
def test_quadratures_integrate_straight_lines_exactly(rule, steps):
    points, weights = map(np.array, quadrature(rule, steps))
    assert len(points) == len(weights) == steps
    assert points.min() >= 0
    assert points.max() <= 1
    assert weights.sum() == pytest.approx(1)
    assert weights @ points == pytest.approx(0.5)


@given(st.integers(1, 12))
def test_gauss_legendre_integrates_polynomials_of_twice_its_points(steps):
    points, weights = map(np.array, quadrature("gauss_legendre", steps))
    for power in range(2 * steps):
        assert weights @ points**power == pytest.approx(1 / (power + 1))


def difference(net, images, base, targets=TARGETS):
    rows = torch.arange(len(images))
    return (net(images)[rows, targets] - net(base)[rows, targets]).detach()


@NETS
@pytest.mark.parametrize("rule", ["gauss_legendre", "midpoint", "trapezoid"])
@pytest.mark.parametrize("baseline", [assay.Constant(0.0), assay.MeanColour()], ids=repr)
def test_complete_maps_sum_to_the_change_of_the_score(activation, rule, baseline, images):
    base = baseline.fill(images(), torch.arange(3), 0)
    gap = difference(plain(activation), images(), base)
    model = assay.Classifier(plain(activation))
    explainer = assay.IntegratedGradients(steps=3, rule=rule, baseline=baseline)
    maps = explainer(model, images(), TARGETS)
    torch.testing.assert_close(maps.flatten(1).sum(1), gap, rtol=1e-4, atol=1e-4 * gap.abs().max().item())
    left = explainer.residual(model, images(), maps, TARGETS)
    assert left.abs().max() < 1e-4 * gap.abs().max()


def test_the_residual_is_what_plain_quadrature_leaves(images):
    net, model = plain(), assay.Classifier(plain())
    explainer = assay.IntegratedGradients(steps=2, complete=False)
    maps = explainer(model, images(), TARGETS)
    expected = difference(net, images(), torch.zeros_like(images())) - maps.flatten(1).sum(1)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(explainer.residual(model, images(), maps, TARGETS, index=torch.arange(3)), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("complete", [True, False])
def test_a_linear_model_is_explained_exactly_by_one_step(complete, images):
    weight = torch.linspace(-1, 1, 192)
    maps = assay.IntegratedGradients(steps=1, complete=complete)(assay.Classifier(linear(weight)), images(), ZEROS)
    torch.testing.assert_close(maps, weight.view(3, 8, 8) * images())


def test_completing_is_the_least_change_of_the_weights(images):
    """The corrected map is a reweighting of the points' slopes that sums right, and no nearer one does."""
    steps, net = 4, plain()
    points, weights = (torch.tensor(values) for values in quadrature("gauss_legendre", steps))
    parts = torch.stack([assay.Gradient()(assay.Classifier(net), images() * p.float(), TARGETS) * images() for p in points], 1)
    slopes = parts.flatten(2).sum(2).double()
    gap = difference(net, images(), torch.zeros_like(images())).double() - slopes @ weights
    change = slopes * (gap / (slopes**2).sum(1))[:, None]
    expected = torch.einsum("np,npchw->nchw", weights + change, parts.double()).float()
    found = assay.IntegratedGradients(steps, rule="gauss_legendre")(assay.Classifier(net), images(), TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_an_image_that_is_the_baseline_has_a_map_of_zeros():
    maps = assay.IntegratedGradients()(assay.Classifier(plain()), torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))
    assert torch.equal(maps, torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize("height", [1.0, 1000.0])
def test_a_score_that_steps_between_the_points_gives_a_finite_map(height, images):
    """Where no point sees a slope, nothing can be attributed; the correction must not divide by it."""
    net = Function(lambda x: 0 * x.sum(1) + height * (x.sum(1) > 1e-4).float())
    maps = assay.IntegratedGradients(steps=4)(assay.Classifier(net), images(), ZEROS)
    assert torch.equal(maps, torch.zeros_like(maps))


def test_the_default_leaves_less_than_captums_default_at_twice_the_steps(images):
    batch, targets = images(8, seed=4), torch.arange(8) % 4
    net = plain()
    gap = difference(net, batch, torch.zeros_like(batch), targets)
    theirs = captum.attr.IntegratedGradients(net).attribute(batch, target=targets, n_steps=20).detach()
    mine = assay.IntegratedGradients(steps=10)(assay.Classifier(net), batch, targets)
    assert (gap - mine.flatten(1).sum(1)).abs().max() <= (gap - theirs.flatten(1).sum(1)).abs().max()
