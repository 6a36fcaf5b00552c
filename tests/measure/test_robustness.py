import captum.metrics
import pytest
import torch
from torch import nn

import assay
from assay.core import noise
from reference.nets import Function, linear, plain

TARGETS = torch.tensor([1, 0, 3])
ZEROS = torch.zeros(3, dtype=torch.int64)


def change(radius, seed, image, sample):
    drawn = noise.uniform(seed, "MaxSensitivity", torch.tensor([image]), torch.tensor([sample]), (3, 8, 8))[0]
    return 2 * radius * drawn - radius


@pytest.mark.parametrize("explainer", [assay.Gradient(), assay.GradientXInput(), assay.IntegratedGradients(3)], ids=repr)
def test_max_sensitivity_is_its_slow_twin(explainer, images):
    model, radius, samples, seed = assay.Classifier(plain(nn.GELU)), 0.05, 6, 4
    batch = images() * 0.8 + 0.1
    maps = explainer(model, batch, TARGETS, seed=seed)
    found = assay.MaxSensitivity(radius, samples)(model, batch, maps, TARGETS, seed=seed, explainer=explainer)
    for i in range(3):
        ratios = []
        for j in range(samples):
            nearby = (batch[i] + change(radius, seed, i, j))[None]
            ratios.append(float((explainer(model, nearby, TARGETS[i : i + 1]) - maps[i]).norm() / maps[i].norm()))
        assert float(found[i]) == pytest.approx(max(ratios), rel=1e-4)


def test_max_sensitivity_is_captums_for_the_same_perturbations(images):
    net, radius, samples = plain(nn.GELU), 0.02, 5
    model = assay.Classifier(net)
    maps = assay.Gradient()(model, images(), TARGETS)
    found = assay.MaxSensitivity(radius, samples)(model, images(), maps, TARGETS, explainer=assay.Gradient())

    def explain(inputs, target):
        inputs = inputs[0] if isinstance(inputs, tuple) else inputs
        target = target.repeat_interleave(len(inputs) // len(target))
        with torch.enable_grad():  # Captum switches it off
            pixels = inputs.detach().requires_grad_()
            score = net(pixels).gather(1, target[:, None]).sum()
        return torch.autograd.grad(score, pixels)

    def perturb(inputs, _radius):
        inputs = inputs[0] if isinstance(inputs, tuple) else inputs
        made = torch.stack([change(radius, 0, k // samples, k % samples) for k in range(len(inputs))])
        return inputs + made

    expected = captum.metrics.sensitivity_max(
        explain, images(), perturb_func=perturb, n_perturb_samples=samples, max_examples_per_batch=3 * samples, target=TARGETS
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_a_linear_model_never_changes(images):
    model = assay.Classifier(linear(torch.linspace(-1, 1, 192)))
    maps = assay.Gradient()(model, images(), ZEROS)
    assert torch.equal(assay.MaxSensitivity()(model, images(), maps, ZEROS, explainer=assay.Gradient()), torch.zeros(3))


def test_the_gradient_of_a_square_changes_as_the_image_does(images):
    """f = |x|^2 / 2 has the image as its gradient: the ratio is |d| / |x|."""
    model, radius, samples = assay.Classifier(Function(lambda x: (x * x).sum(1) / 2)), 0.02, 8
    found = assay.MaxSensitivity(radius, samples)(model, images(), images(), ZEROS, explainer=assay.Gradient())
    largest = torch.stack([torch.stack([change(radius, 0, i, j).norm() for j in range(samples)]).max() for i in range(3)])
    torch.testing.assert_close(found, largest / images().flatten(1).norm(dim=1), rtol=1e-4, atol=1e-6)


def test_an_explainers_own_noise_is_held(images):
    """SmoothGrad of a linear model is exact at every sample count, so that only noise that is drawn anew could move it."""
    model = assay.Classifier(Function(lambda x: (x * x * x).sum(1)))
    explainer = assay.SmoothGrad(sigma=0.5, samples=2)
    maps = explainer(model, images(), ZEROS, seed=6)
    held = assay.MaxSensitivity(1e-6, 4)(model, images(), maps, ZEROS, seed=6, explainer=explainer)
    assert held.max() < 1e-4


def test_a_random_map_changes_altogether(images):
    """|a - b| / |a| of two independent normal maps is near the square root of 2."""
    model = assay.Classifier(plain())
    maps = assay.RandomMap()(model, images(), TARGETS)
    found = assay.MaxSensitivity(1e-6, 3)(model, images(), maps, TARGETS, explainer=assay.RandomMap())
    assert (found - 2**0.5).abs().max() < 0.25


def test_a_map_of_zeros_has_no_relative_change(images):
    model = assay.Classifier(plain())
    found = assay.MaxSensitivity(samples=2)(model, images(), torch.zeros(3, 3, 8, 8), TARGETS, explainer=assay.Gradient())
    assert found.isnan().all()


def test_targets_are_held_while_the_image_moves(images):
    model = assay.Classifier(plain(), mean=0.5, std=0.02)
    targets = model.predict(images())
    maps = assay.Gradient()(model, images(), targets)
    given = assay.MaxSensitivity(0.2, 5)(model, images(), maps, targets, explainer=assay.Gradient())
    assert torch.equal(assay.MaxSensitivity(0.2, 5)(model, images(), maps, explainer=assay.Gradient()), given)


def test_maps_with_one_channel_are_compared_with_their_kind(images):
    model, explainer = assay.Classifier(plain()), assay.KernelShap(20, assay.Grid(2, 2))
    maps = explainer(model, images(), TARGETS)
    found = assay.MaxSensitivity(1e-6, 2)(model, images(), maps, TARGETS, explainer=explainer)
    assert found.max() < 1e-3


def test_local_lipschitz_of_a_quadratic_is_at_most_its_largest_eigenvalue_and_known_by_hand_for_a_round_one(images):
    """f = a |x|^2 / 2 has the gradient a x, whose change is a times the image's, whatever the draw."""
    model = assay.Classifier(Function(lambda x: 1.5 * x.square().sum(1)))
    maps = assay.Gradient()(model, images(), ZEROS)
    found = assay.LocalLipschitz(5, 0.1)(model, images(), maps, ZEROS, explainer=assay.Gradient())
    torch.testing.assert_close(found, torch.full((3,), 3.0), rtol=1e-4, atol=1e-4)


def test_local_lipschitz_is_its_slow_twin_with_draws_that_are_not_clipped(images):
    model, explainer, seed = assay.Classifier(plain(nn.GELU)), assay.Gradient(), 4
    batch = images().round()
    maps = explainer(model, batch, TARGETS)
    found = assay.LocalLipschitz(6, 0.2)(model, batch, maps, TARGETS, seed=seed, explainer=explainer)
    for i in range(3):
        ratios = []
        for j in range(6):
            step = 0.2 * noise.normal(seed, "LocalLipschitz", torch.tensor([i]), torch.tensor([j]), (3, 8, 8))
            moved = explainer.attribute(model, batch[i : i + 1] + step, TARGETS[i : i + 1], torch.tensor([i]), seed)
            ratios.append(float((moved - maps[i : i + 1]).norm() / step.norm()))
        assert float(found[i]) == pytest.approx(max(ratios), rel=1e-4)


def test_local_lipschitz_takes_the_papers_draws_and_sigma_by_default():
    assert assay.LocalLipschitz() == assay.LocalLipschitz(draws=50, sigma=0.03)
