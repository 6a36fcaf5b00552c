import math

import numpy as np
import pytest
import torch
from scipy import stats

import assay
from reference.theory import BOUNDS, Stripes, smoothed_slope, stripes_gradient

WIDTH = 0.1
PLACES = torch.tensor([0.72, 0.76, 0.83, 0.88])


def at(difference):
    return torch.stack([torch.full_like(difference, 0.05) + difference, torch.full_like(difference, 0.05)], 1).view(-1, 1, 1, 2)


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda one: f"{one.where}: {one.printed}")
def test_every_sharp_constant_is_reached_by_its_function(bound):
    assert bound.steepest == pytest.approx(bound.sharp, rel=1e-3)


def test_only_the_bound_for_functions_of_both_signs_is_exceeded():
    broken = [one for one in BOUNDS if one.steepest > one.constant * (1 + 1e-6)]
    assert [one.reached_by for one in broken] == ["R sign(x)"]
    assert broken[0].note.startswith("does not hold")


def test_the_kernels_constants_are_those_of_the_page():
    assert 2 * assay.Gaussian(1.0).gamma(7) == pytest.approx(BOUNDS[0].sharp)
    assert assay.Gaussian(1.0).gamma(7) == pytest.approx(BOUNDS[1].sharp)
    assert 2 * assay.Uniform(1.0).gamma(100) == pytest.approx(BOUNDS[3].sharp)


def test_the_smoothed_slope_is_that_of_closed_forms():
    assert smoothed_slope(np.sin, 0.3, 0.7) == pytest.approx(math.cos(0.3) * math.exp(-0.49 / 2))
    assert smoothed_slope(lambda x: x**3, 0.5, 0.2) == pytest.approx(3 * 0.25 + 3 * 0.04)


def test_the_toy_has_the_papers_gradients_on_stripes_and_does_not_jump():
    model = assay.Classifier(Stripes(WIDTH))
    maps = assay.Gradient()(model, at(PLACES), torch.zeros(4, dtype=torch.int64)).flatten(1)
    even = torch.floor(PLACES / WIDTH) % 2 == 0
    assert torch.equal(maps, torch.stack([even, ~even], 1).float())
    line = at(torch.linspace(0, 0.9, 3001))
    values = Stripes(WIDTH)(line)[:, 0]
    assert values.diff().abs().max() < 2 * 0.9 / 3000


@pytest.mark.parametrize("sigma", [0.004, 0.02, 0.06])
def test_smoothgrad_of_the_toy_is_its_closed_form(sigma):
    model = assay.Classifier(Stripes(WIDTH))
    maps = assay.SmoothGrad(sigma, 20_000)(model, at(PLACES), torch.zeros(4, dtype=torch.int64)).flatten(1)
    expected = stripes_gradient(PLACES.numpy(), sigma, WIDTH)
    assert np.abs(maps.numpy() - expected).max() < 0.015


def test_the_series_is_the_sum_over_stripes_and_tends_to_a_half():
    s = 0.02 * math.sqrt(2)
    edges = np.arange(-200, 200) * WIDTH
    inside = stats.norm.cdf((edges + WIDTH - 0.76) / s) - stats.norm.cdf((edges - 0.76) / s)
    assert stripes_gradient(0.76, 0.02, WIDTH)[0] == pytest.approx(inside[::2].sum(), abs=1e-6)
    assert stripes_gradient(0.76, 0.2, WIDTH) == pytest.approx([0.5, 0.5], abs=1e-6)
