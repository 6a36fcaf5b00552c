import itertools
import math
from dataclasses import replace

import captum.metrics
import pytest
import torch
from torch import nn

import assay
from assay.core.precision import set_products
from assay.explain.base import check_case
from assay.measure import linearity
from reference import measures
from reference.nets import Function, linear, plain

TARGETS = torch.tensor([1, 0, 3])
ZEROS = torch.zeros(3, dtype=torch.int64)
WEIGHT = torch.linspace(-1, 1, 192)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel", ["normal", "uniform"])
def test_infidelity_is_its_slow_twin(scaled, relative, channels, kernel, images):
    net, maps, samples, seed = plain(nn.GELU), images(channels=channels, seed=1) - 0.5, 7, 3
    chosen = assay.Gaussian(0.2) if kernel == "normal" else assay.Uniform(0.2)
    found = assay.Infidelity(chosen, samples, scaled, relative, antithetic=False)(assay.Classifier(net), images(), maps, TARGETS, seed=seed)
    for i in range(3):
        noise = [measures.drawn(kernel, seed, "Infidelity", i, j, (3, 8, 8)) for j in range(samples)]
        changes = [0.2 * one if kernel == "normal" else 0.4 * one - 0.2 for one in noise]
        expected = measures.infidelity(net, images()[i], maps[i].expand(3, -1, -1), TARGETS[i], changes, scaled, relative)
        assert float(found[i]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("relative", [True, False])
def test_local_linear_error_is_its_slow_twin(scaled, relative, images):
    net, maps, samples, seed = plain(nn.GELU), images(seed=1) - 0.5, 7, 3
    measure = assay.LocalLinearError(0.05, samples, scaled, relative)
    found = measure(assay.Classifier(net), images(), maps, TARGETS, seed=seed)
    for i in range(3):
        changes = [0.05 * measures.drawn("normal", seed, "LocalLinearError", i, j, (3, 8, 8)) for j in range(samples)]
        expected = measures.local_linear_error(net, images()[i], maps[i], TARGETS[i], changes, scaled, relative)
        assert float(found[i]) == pytest.approx(expected, rel=1e-4)


def test_infidelity_is_captums_for_the_same_perturbations(images):
    net, maps, samples = plain(nn.GELU), images(seed=1) - 0.5, 11
    found = assay.Infidelity(assay.Gaussian(0.1), samples)(assay.Classifier(net), images(), maps, TARGETS)
    order = []

    def perturb(inputs):
        """Captum asks for all samples of one image after the other."""
        start = len(order)
        order.extend(range(start, start + len(inputs)))
        changes = torch.stack(
            [0.1 * measures.drawn("normal", 0, "Infidelity", k // samples, k % samples, (3, 8, 8)) for k in order[start:]]
        )
        return changes, inputs - changes

    def forward(inputs, targets):
        return net(inputs).gather(1, targets[:, None])[:, 0]

    expected = captum.metrics.infidelity(forward, perturb, images(), maps, additional_forward_args=TARGETS, n_perturb_samples=samples)
    assert order == list(range(3 * samples))
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("measure", [assay.Infidelity(), assay.LocalLinearError(), assay.LocalLinearError(radius=0.5)], ids=repr)
def test_the_gradient_of_a_linear_model_has_no_error(measure, images):
    model = assay.Classifier(linear(WEIGHT, 0.5))
    maps = assay.Gradient()(model, images(), ZEROS)
    assert measure(model, images(), maps, ZEROS).max() < 1e-9
    assert measure(model, images(), maps + 0.1, ZEROS).min() > 1e-4


@pytest.mark.parametrize(("radius", "samples"), [(0.01, 4000), (0.2, 4000)])
def test_the_error_of_a_wrong_map_of_a_linear_model_is_its_distance(radius, samples, images):
    """E[((w - m) . u)^2] = radius^2 |w - m|^2, and relative to E[(w . u)^2] = radius^2 |w|^2."""
    model = assay.Classifier(linear(WEIGHT))
    maps = (WEIGHT + 0.5).view(1, 3, 8, 8).expand(3, -1, -1, -1)
    expected = radius**2 * 192 * 0.25
    found = assay.LocalLinearError(radius, samples)(model, images(), maps, ZEROS)
    assert (found / expected - 1).abs().max() < 4.5 * math.sqrt(2 / samples)
    spread = assay.Infidelity(assay.Gaussian(radius), samples, relative=True)(model, images(), maps, ZEROS)
    assert (spread / (192 * 0.25 / WEIGHT.square().sum()) - 1).abs().max() < 0.2


def test_the_error_of_a_zero_map_is_all_of_the_variation(images):
    model, nothing = assay.Classifier(plain()), torch.zeros(3, 3, 8, 8)
    for measure in (assay.Infidelity(relative=True), assay.LocalLinearError(relative=True), assay.Infidelity(scaled=True, relative=True)):
        torch.testing.assert_close(measure(model, images(), nothing, TARGETS), torch.ones(3))


@pytest.mark.parametrize("kind", [assay.Infidelity, assay.LocalLinearError])
def test_a_scaled_error_does_not_depend_on_the_maps_unit_or_sign(kind, images):
    model, maps = assay.Classifier(plain()), images(seed=1) - 0.5
    measure = kind(samples=20, scaled=True)
    expected = measure(model, images(), maps, TARGETS)
    for factor in (-1.0, 1e-3, 1e3):
        torch.testing.assert_close(measure(model, images(), factor * maps, TARGETS), expected, rtol=1e-4, atol=1e-9)
    assert (expected <= kind(samples=20)(model, images(), maps, TARGETS)).all()


def test_the_frontier_of_a_sine_is_known_exactly():
    """For f = sin(w.x) the smoothed gradient is the gradient times c = exp(-sigma^2 |w|^2 / 2): its error grows as sigma does."""
    weight = torch.randn(48, generator=torch.Generator().manual_seed(1))
    weight /= weight.norm()
    batch = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    targets, radius, samples = torch.zeros(4, dtype=torch.int64), 0.05, 4000
    model = assay.Classifier(Function(lambda x: torch.sin(x @ weight)))
    slope = (batch.flatten(1) @ weight).cos()
    errors = []
    for sigma in (0.0, 0.5, 1.0, 2.0):
        factor = math.exp(-(sigma**2) / 2)
        maps = (factor * slope[:, None] * weight).view_as(batch)
        errors.append(assay.LocalLinearError(radius, samples)(model, batch, maps, targets))
        # To first order in u the error is ((1 - c) cos(w.x))^2 radius^2; the rest is of order radius^4.
        expected = ((1 - factor) * slope * radius) ** 2
        assert ((errors[-1] - expected).abs() < 4.5 * expected * math.sqrt(2 / samples) + 3 * radius**4).all()
    assert all((a < b).all() for a, b in itertools.pairwise(errors))


def test_a_random_map_explains_nothing_once_scaled(images):
    model = assay.Classifier(linear(WEIGHT))
    batch, targets = images(20), torch.zeros(20, dtype=torch.int64)
    maps = assay.RandomMap()(model, batch, targets)
    left = assay.LocalLinearError(samples=400, scaled=True, relative=True)(model, batch, maps, targets)
    assert left.min() > 0.9
    assert left.max() <= 1.0 + 1e-6


def test_one_number_is_explained_as_the_output_says(images):
    """The score that a map is held against is the one that the model explains."""
    for output in ("logit", "probability", "log_probability"):
        model = assay.Classifier(plain(nn.GELU), output=output)
        maps = assay.Gradient()(model, images(), TARGETS)
        small = assay.LocalLinearError(radius=1e-3, samples=30, relative=True)(model, images(), maps, TARGETS)
        assert small.max() < 0.02


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("samples", [6, 7])
def test_antithetic_infidelity_is_its_slow_twin(scaled, samples, images):
    net, maps = plain(nn.GELU), images(seed=1) - 0.5
    found = assay.Infidelity(samples=samples, scaled=scaled, relative=True)(assay.Classifier(net), images(), maps, TARGETS, seed=3)
    for i in range(3):
        once = [0.2 * measures.drawn("normal", 3, "Infidelity", i, j, (3, 8, 8)) for j in range(4)]
        changes = [sign * one for one in once for sign in (1, -1)][:samples]
        expected = measures.infidelity(net, images()[i], maps[i], TARGETS[i], changes, scaled, True)
        assert float(found[i]) == pytest.approx(expected, rel=1e-4)


def curved(x):
    """A linear part and a larger even one, for the map of the linear part."""
    return 0.3 * (x - 0.5) @ WEIGHT + 2.0 * ((x - 0.5) ** 2).sum(1)


def test_antithetic_pairs_come_to_what_independent_draws_come_to_with_less_noise(images):
    model, maps = assay.Classifier(Function(curved)), WEIGHT.view(1, 3, 8, 8).expand(3, -1, -1, -1) + 0.3

    def drawn(antithetic, samples, seeds):
        measure = assay.Infidelity(samples=samples, scaled=True, relative=True, antithetic=antithetic)
        return torch.stack([measure(model, images(), maps, ZEROS, seed=seed) for seed in range(seeds)])

    many = [drawn(antithetic, 4000, 1)[0] for antithetic in (True, False)]
    torch.testing.assert_close(many[0], many[1], rtol=0.1, atol=0.02)
    noise = [drawn(antithetic, 40, 20).std(0).mean() for antithetic in (True, False)]
    assert noise[0] < 0.7 * noise[1]


def test_an_image_stops_at_the_wanted_error_and_not_before(images):
    maps = images(seed=1) - 0.5

    def spent(error):
        model = assay.Classifier(plain(nn.GELU))
        measure = assay.Infidelity(samples=512, scaled=True, relative=True, error=error)
        found = measure(model, images(), maps, TARGETS)
        return model.passes.forward - 3, found

    most, whole = spent(1e-9)
    some, near = spent(0.03)
    fewest, _ = spent(10.0)
    assert most == 3 * 512
    assert fewest == 3 * 32 <= some < most
    torch.testing.assert_close(
        whole, assay.Infidelity(samples=512, scaled=True, relative=True)(assay.Classifier(plain(nn.GELU)), images(), maps, TARGETS)
    )
    assert (near - whole).abs().max() < 0.15


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
def test_the_standard_error_is_the_spread_over_seeds(scaled, relative, images):
    model, maps = assay.Classifier(Function(curved)), WEIGHT.view(1, 3, 8, 8).expand(1, -1, -1, -1) + 0.3
    case = check_case(model, images()[:1], ZEROS[:1])
    found, told = [], []
    for seed in range(60):
        draws = linearity._Draws(assay.Gaussian(0.2), "Infidelity", -1.0, True)
        products = linearity._products(replace(case, seed=seed), [maps], draws, ZEROS[:1], range(64))
        found.append(float(linearity._score(products.mean(0), scaled, relative)))
        told.append(float(linearity._standard_error(products, True, scaled, relative)))
    assert sum(told) / len(told) == pytest.approx(torch.tensor(found).std().item(), rel=0.35)


def test_small_changes_are_multiplied_in_full_whatever_the_process_is_set_to(products):
    seen = []

    class Noting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.last = torch.nn.Linear(12, 2)

        def forward(self, x):
            seen.append(products()["float32 products"])
            return self.last(x.flatten(1))

    model, images = assay.Classifier(Noting()), torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    maps = assay.Gradient()(model, images)
    set_products("high")
    for measure, wanted in ((assay.LocalLinearError(samples=4), "highest"), (assay.Infidelity(samples=4), "high")):
        case = assay.measure.base.Case(model, images, model.predict(images), torch.arange(2), 0)
        seen.clear()
        measure.evaluate(case, [maps], [])
        assert set(seen) == {wanted}
        assert products()["float32 products"] == "high"


def test_bits_do_not_depend_on_chunks_that_cut_an_image_s_changes_to_one_where_threads_share_a_row():
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    net = torch.nn.Sequential(torch.nn.AvgPool2d(56), torch.nn.Flatten(), torch.nn.Linear(48, 2)).eval()
    maps, usual = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1)), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one, other = (
            assay.Infidelity(samples=11)(assay.Classifier(net, chunk=chunk), images, maps, torch.tensor([0, 1])) for chunk in (4, 22)
        )
    finally:
        torch.set_num_threads(usual)
    assert torch.equal(one, other)
