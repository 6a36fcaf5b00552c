import math

import pytest
import torch

import assay
from assay.explain.kernels import draw

KERNELS = [assay.Gaussian(0.3), assay.Uniform(0.3), assay.Laplace(0.3), assay.Student(0.3), assay.Student(0.3, df=8)]
COUNT = 100_000


def samples(kernel, shape=(2,)):
    number = torch.arange(COUNT)
    return kernel.sample(5, "test", torch.zeros_like(number), number, shape)


@pytest.mark.parametrize("kernel", [*KERNELS[:3], KERNELS[4]], ids=repr)
def test_the_spread_is_the_standard_deviation_of_a_pixel(kernel):
    assert samples(kernel).std().item() == pytest.approx(kernel.spread, rel=0.02)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_a_kernel_is_symmetric_and_depends_on_seed_image_and_sample_alone(kernel):
    found = samples(kernel)
    assert found.median().abs() < 0.01 * kernel.spread
    assert torch.equal(found[7:9], kernel.sample(5, "test", torch.zeros(2, dtype=torch.int64), torch.tensor([7, 8]), (2,)))
    pairs = draw(kernel, 5, "test", torch.zeros(4, dtype=torch.int64), torch.arange(4), (2,), antithetic=True)
    assert torch.equal(pairs[0], -pairs[1])


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_gamma_is_how_fast_a_shift_changes_the_probability_of_an_event(kernel):
    """Of the event that loses most: a half space, or for uniform noise the corner that the box leaves."""
    found, size = samples(kernel), 0.02
    box = isinstance(kernel, assay.Uniform)
    lost = (found > kernel.spread * math.sqrt(3) - size / math.sqrt(2)).any(1) if box else found[:, 0].abs() < size / 2
    assert lost.double().mean().item() / size == pytest.approx(kernel.gamma(2), rel=0.05)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_no_half_space_is_lost_faster_than_gamma(kernel):
    found, gamma = samples(kernel, (5,)), kernel.gamma(5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        way = torch.randn(5, generator=generator)
        along = found @ (way / way.norm())
        assert (along.abs() < 0.05).double().mean() / 0.1 < gamma * 1.03


def test_students_noise_of_an_image_is_normal_noise_of_one_random_width():
    """So its density along every direction is the same, and that of all pixels of an image is wide or narrow at once."""
    size = samples(assay.Student(1.0), (200,)).square().mean(1)
    few = size[:2000].log()
    assert few.std() > 0.5  # Independent pixels of this width would give about 0.2.


@pytest.mark.parametrize("kernel", [assay.Gaussian(0.0), assay.Uniform(0.0), assay.Laplace(0.0), assay.Student(0.0)], ids=repr)
def test_without_width_gamma_is_infinite(kernel):
    assert kernel.gamma(3) == math.inf
    assert kernel.spread == 0


def test_students_variance_must_exist():
    with pytest.raises(assay.AssayError, match="df must be at least 3"):
        assay.Student(0.1, df=2)
