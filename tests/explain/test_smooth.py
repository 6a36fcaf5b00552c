import math

import pytest
import torch
from torch import nn

import assay
from assay.explain.kernels import Kernel
from assay.explain.smooth import samples_for
from reference.nets import Function, plain
from reference.smooth import smoothgrad

TARGETS = torch.tensor([1, 0, 3])
ZEROS = torch.zeros(3, dtype=torch.int64)


def symmetric(size, seed=0):
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize(("sigma", "count"), [(0.0, 10), (0.003, 10), (0.00999, 10), (0.01, 10), (0.03, 30), (0.1, 100), (0.25, 250)])
def test_the_number_of_samples_follows_the_papers_rule(sigma, count, images):
    assert samples_for(sigma) == count
    assert assay.SmoothGrad(sigma=sigma).smoothed.count == count
    model = assay.Classifier(plain())
    assay.SmoothGrad(sigma=sigma)(model, images(1), TARGETS[:1])
    assert model.passes.forward == count


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
@pytest.mark.parametrize("samples", [1, 5, 6])
def test_smoothgrad_is_its_slow_twin(activation, antithetic, samples, images):
    expected = smoothgrad(plain(activation), images(), TARGETS, 0.1, samples, 3, antithetic)
    explainer = assay.SmoothGrad(sigma=0.1, samples=samples, antithetic=antithetic)
    found = explainer(assay.Classifier(plain(activation)), images(), TARGETS, seed=3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_smoothgrad_is_the_smoothed_gradient(images):
    model = assay.Classifier(plain())
    one = assay.SmoothGrad(sigma=0.05)(model, images(), TARGETS, seed=2)
    assert torch.equal(one, assay.Smoothed(assay.Gradient(), assay.Gaussian(0.05))(model, images(), TARGETS, seed=2))


@pytest.mark.parametrize("kernel", [assay.Gaussian(0.0), assay.Uniform(0.0)], ids=repr)
def test_a_kernel_without_width_changes_nothing(kernel, images):
    model = assay.Classifier(plain())
    for explainer in (assay.Gradient(), assay.KernelShap(64, assay.Grid(2, 3))):
        smoothed = assay.Smoothed(explainer, kernel, samples=3)(model, images(), TARGETS)
        torch.testing.assert_close(smoothed, explainer(model, images(), TARGETS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [assay.Gaussian(0.01), assay.Gaussian(0.5), assay.Uniform(0.3)], ids=repr)
def test_the_smoothed_gradient_of_a_quadratic_is_its_gradient(kernel, images):
    matrix, slope = symmetric(192), torch.linspace(-1, 1, 192)
    model = assay.Classifier(Function(lambda x: (x @ matrix * x).sum(1) / 2 + x @ slope))
    found = assay.Smoothed(assay.Gradient(), kernel, samples=8)(model, images(), ZEROS)
    expected = (images().flatten(1) @ matrix + slope).view_as(found)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    free = assay.Smoothed(assay.Gradient(), kernel, samples=8, antithetic=False)(model, images(), ZEROS)
    assert (free - expected).abs().max() > 10 * (found - expected).abs().max()


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0])
def test_smoothing_damps_a_sine_by_the_known_factor(sigma, antithetic):
    """The gradient of sin(w.x) is w cos(w.x); smoothing multiplies it by exp(-sigma^2 |w|^2 / 2)."""
    weight = torch.randn(48, generator=torch.Generator().manual_seed(1))
    weight *= 2 / weight.norm()
    batch = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    samples = 4000
    model = assay.Classifier(Function(lambda x: torch.sin(x @ weight)))
    found = assay.SmoothGrad(sigma, samples, antithetic)(model, batch, torch.zeros(4, dtype=torch.int64)).flatten(1)
    phase = batch.flatten(1) @ weight
    factor = math.exp(-(sigma**2) * 4 / 2)
    torch.testing.assert_close(found, (found @ weight / 4)[:, None] * weight, rtol=1e-3, atol=1e-5)
    error = (found @ weight / 4 - factor * phase.cos()).abs()
    assert (error < 4.5 / math.sqrt(samples / 2)).all()
    if antithetic:
        # Pairs leave only the even part: cos(p + d) + cos(p - d) = 2 cos(p) cos(d).
        assert (error < 4.5 * phase.cos().abs() / math.sqrt(samples / 2) + 1e-5).all()


def test_antithetic_noise_errs_less_at_equal_passes():
    net = plain(nn.GELU)
    batch = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    targets, model = torch.arange(6) % 4, assay.Classifier(net)
    truth = assay.SmoothGrad(0.1, 4000)(model, batch, targets, seed=99)

    def error(antithetic):
        maps = [assay.SmoothGrad(0.1, 20, antithetic)(model, batch, targets, seed=seed) for seed in range(4)]
        return torch.stack([(one - truth).square().mean() for one in maps]).mean()

    assert error(True) < error(False)


def test_smoothing_holds_the_targets_of_the_clean_image(images):
    model = assay.Classifier(plain(), mean=0.5, std=0.05)
    assert (model.predict(images()) != model.predict((images() + 0.3).clamp(0, 1))).any()
    targets = model.predict(images())
    explainer = assay.SmoothGrad(sigma=0.3, samples=4)
    assert torch.equal(explainer(model, images()), explainer(model, images(), targets))


def test_a_smoothed_random_explainer_gets_new_noise_for_every_copy(images):
    model = assay.Classifier(plain())
    maps = assay.Smoothed(assay.RandomMap(), assay.Gaussian(0.0), samples=100)(model, images(), TARGETS)
    assert 0.07 < maps.std() < 0.13


def test_smoothing_says_what_its_explainer_needs():
    assert assay.Smoothed(assay.Gradient()).needs == {"gradient"}
    assert assay.Smoothed(assay.Lime()).needs == {"segments"}
    assert "gradient" in assay.SmoothGrad().needs


def test_smoothing_composes_with_surrogates_whose_inputs_leave_the_pixel_range(images):
    maps = assay.Smoothed(assay.KernelShap(12, assay.Quickshift()), assay.Gaussian(0.5), samples=3)(assay.Classifier(plain()), images())
    assert maps.shape == (3, 1, 8, 8)
    assert maps.isfinite().all()


class Kept(Kernel):
    """A kernel of the user's, which gives one tensor of its own again and again, in another format, the same for all channels."""

    def __init__(self, format):
        self.mine = torch.full((1, 1, 8, 8), 0.25, dtype=format)

    def sample(self, seed, stream, index, sample, shape):
        return self.mine.expand(len(index), *shape)

    @property
    def spread(self):
        return 0.25

    def gamma(self, values):
        return 1.0


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("format", [torch.float32, torch.float64])
def test_what_a_kernel_gives_is_only_read(format, antithetic):
    kernel, images = Kept(format), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = assay.Classifier(plain())
    found = assay.Smoothed(assay.Gradient(), kernel, samples=2, antithetic=antithetic)(model, images)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert torch.equal(kernel.mine, torch.full((1, 1, 8, 8), 0.25, dtype=format))
