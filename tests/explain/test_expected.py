"""Expected Gradients and VarGrad: closed forms, twins, Captum, and references that a spec is bound to."""

import captum.attr
import numpy as np
import pytest
import torch
from PIL import Image

import assay
from assay.core import noise
from assay.core.noise import derive
from assay.errors import DataError, ShapeError, SpecError
from reference.nets import Function, linear, plain

TARGETS = torch.tensor([1, 0, 2])


@pytest.fixture(scope="module")
def batch():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def test_of_a_linear_network_it_is_the_weight_times_the_way_from_the_mean_baseline(batch):
    weight = torch.randn(192, generator=torch.Generator().manual_seed(0))
    pool = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = assay.ExpectedGradients(assay.References(pool), samples=4000)(assay.Classifier(linear(weight)), batch[:1], [0])
    expected = weight.view(3, 8, 8) * (batch[0] - pool.mean(0))
    assert (found[0] - expected).abs().max() < 0.03 * expected.abs().max()


def test_from_one_baseline_it_is_integrated_gradients(batch):
    model = assay.Classifier(plain(torch.nn.Tanh))
    exact = assay.IntegratedGradients(steps=200)(model, batch, TARGETS)
    found = assay.ExpectedGradients(assay.Constant(0.0), samples=300)(model, batch, TARGETS)
    assert (found - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize("stratified", [True, False])
def test_a_map_is_its_slow_twin(stratified, batch):
    pool = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    net, index = plain(), torch.tensor([5, 0, 9])
    explainer = assay.ExpectedGradients(assay.References(pool, count=None), samples=6, stratified=stratified)
    found = explainer(assay.Classifier(net), batch, TARGETS, seed=3, index=index)
    for place, number in enumerate(index.tolist()):
        total = torch.zeros(3, 8, 8)
        for sample in range(6):
            pair = torch.tensor([number * 6 + sample])
            base = explainer.baselines.fill(batch[place][None], pair, derive(3, "ExpectedGradients.baselines"))[0]
            share = float(noise.uniform(3, "ExpectedGradients", torch.tensor([number]), torch.tensor([sample]), ()))
            share = (sample + share) / 6 if stratified else share
            point = (base + share * (batch[place] - base)).requires_grad_()
            total += torch.autograd.grad(net(point[None])[0, TARGETS[place]], point)[0] * (batch[place] - base) / 6
        torch.testing.assert_close(found[place], total, rtol=1e-4, atol=1e-5)


def test_stratified_points_lower_the_noise(batch):
    model = assay.Classifier(plain(torch.nn.Tanh))
    exact = assay.IntegratedGradients(steps=200)(model, batch, TARGETS)
    errors = [
        (assay.ExpectedGradients(assay.Constant(0.0), samples=20, stratified=way)(model, batch, TARGETS) - exact).square().mean()
        for way in (True, False)
    ]
    assert errors[0] < errors[1] / 3


def test_references_are_read_from_a_folder_and_a_spec_is_bound_to_them(tmp_path, batch):
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    given = assay.References(str(tmp_path), count=3)
    drawn = given.fill(batch, torch.arange(3), 0)
    known = assay.data.read(assay.data.load(str(tmp_path)), range(4)).images
    assert all((one == known).flatten(1).all(1).any() for one in drawn)
    assert assay.build(repr(assay.ExpectedGradients(given))) == assay.ExpectedGradients(given)
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "2.png")
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "0.png")
    with pytest.raises(DataError, match="are others than this was made for"):
        assay.build(repr(given))


def test_references_of_another_size_are_refused(batch):
    with pytest.raises(ShapeError, match=r"have shape \(3, 4, 4\) where the images have \(3, 8, 8\)"):
        assay.ExpectedGradients(assay.References(torch.rand(2, 3, 4, 4)))(assay.Classifier(plain()), batch)


def test_what_the_map_is_relative_to_must_be_said():
    with pytest.raises(SpecError, match="ExpectedGradients needs baselines"):
        assay.build("ExpectedGradients")


def test_the_variance_of_a_quadratic_networks_gradient_is_known():
    """f = sum x^3 / 6 has gradient x^2 / 2, whose variance under noise s is x^2 s^2 + s^4 / 2."""
    model, sigma = assay.Classifier(Function(lambda x: x.pow(3).sum(1) / 6)), 0.2
    image = torch.linspace(0.1, 0.9, 16).view(1, 1, 4, 4)
    found = assay.VarGrad(sigma=sigma, samples=8000)(model, image, [0])
    torch.testing.assert_close(found, image.square() * sigma**2 + sigma**4 / 2, rtol=0.08, atol=0)


def test_vargrad_is_captums_on_the_same_noise(batch, monkeypatch):
    sigma, samples, net = 0.1, 5, plain()
    found = assay.VarGrad(sigma, samples)(assay.Classifier(net), batch[:1], [1], seed=3)
    zeros = torch.zeros(samples, dtype=torch.int64)
    own = noise.normal(3, "VarGrad", zeros, torch.arange(samples), (3, 8, 8)) * sigma
    monkeypatch.setattr(torch, "normal", lambda *_, **__: own)
    expected = captum.attr.NoiseTunnel(captum.attr.Saliency(net)).attribute(
        batch[:1].clone().requires_grad_(), nt_type="vargrad", nt_samples=samples, stdevs=sigma, target=1, abs=False
    )
    torch.testing.assert_close(found, expected.detach().float(), rtol=1e-3, atol=1e-7)


def test_a_small_variance_is_not_lost_beside_a_large_gradient(batch):
    """Without care, squares of gradients near 1000 leave nothing of a variance of 1e-6."""
    model = assay.Classifier(Function(lambda x: 1000 * x.sum(1) + x.square().sum(1) / 2))
    found = assay.VarGrad(sigma=0.001, samples=400)(model, batch[:1], [0])
    assert 0.5e-6 < found.mean() < 1.5e-6
