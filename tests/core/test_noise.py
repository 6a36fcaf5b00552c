import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from assay.core import noise
from assay.explain.kernels import Gaussian, Uniform, draw

MOMENTS = {
    "uniform": lambda power: 1 / (power + 1),
    "normal": lambda power: 0 if power % 2 else math.prod(range(1, power, 2)),
    "laplace": lambda power: 0 if power % 2 else math.factorial(power),
}
MAKERS = {"uniform": noise.uniform, "normal": noise.normal, "laplace": noise.laplace}
IDS = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def block(make, images=40, samples=25, shape=(3, 10, 10), seed=0, stream="test"):
    """(images, samples, elements) of noise."""
    index = torch.arange(images).repeat_interleave(samples)
    sample = torch.arange(samples).repeat(images)
    return make(seed, stream, index, sample, shape).view(images, samples, -1).numpy().astype(np.float64)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_the_distribution_is_the_one_named(name, seed):
    reference = {"uniform": stats.uniform, "normal": stats.norm, "laplace": stats.laplace}[name]
    drawn = block(MAKERS[name], seed=seed).ravel()
    assert stats.kstest(drawn, reference.cdf).pvalue > 1e-3
    for power in (1, 2, 3, 4):
        moment = MOMENTS[name](power)
        spread = math.sqrt(MOMENTS[name](2 * power) - moment**2)
        assert abs((drawn**power).mean() - moment) < 4 * spread / math.sqrt(drawn.size)


@IDS
def test_numbers_are_uncorrelated_along_every_axis(make):
    drawn = block(make)
    drawn = (drawn - drawn.mean()) / drawn.std()
    for axis in range(3):
        for lag in (1, 2, 7):
            moved = np.moveaxis(drawn, axis, 0)
            product = moved[lag:] * moved[:-lag]
            assert abs(product.mean()) < 4.5 / math.sqrt(product.size)
            product = (moved[lag:] ** 2 - 1) * (moved[:-lag] ** 2 - 1)
            assert abs(product.mean()) < 4.5 * product.std() / math.sqrt(product.size)


@IDS
def test_images_and_samples_are_not_each_others_shifts(make):
    """Correlations between whole blocks, at every shift of their elements, stay within chance."""
    drawn = block(make, images=12, samples=4, shape=(256,)).reshape(48, 256)
    spectra = np.fft.rfft(drawn - drawn.mean())
    for step in range(1, 48):
        across = np.fft.irfft(spectra[step:] * spectra[:-step].conj(), 256) / (256 * drawn.var())
        assert np.abs(across).max() < 6.5 / math.sqrt(256)


@IDS
@pytest.mark.parametrize("change", [{"stream": "other"}, {"seed": 1}, {"seed": -1}, {"seed": 2**63}])
def test_streams_and_seeds_are_independent(make, change):
    one, other = block(make).ravel(), block(make, **change).ravel()
    assert abs(np.corrcoef(one, other)[0, 1]) < 4.5 / math.sqrt(one.size)
    assert (one == other).mean() < 1e-3


def test_the_two_halves_of_the_box_muller_pairs_are_independent():
    drawn = block(noise.normal, shape=(300,))
    cosines, sines = drawn[..., :150].ravel(), drawn[..., 150:].ravel()
    for power in (1, 2, 4):
        one, other = np.abs(cosines) ** power, np.abs(sines) ** power
        assert abs(np.corrcoef(one, other)[0, 1]) < 4.5 / math.sqrt(one.size)


def test_numbers_repeat_nowhere_among_many_blocks():
    """64-bit blocks never coincide, as overlapping counters would make them."""
    index = torch.arange(3000).repeat_interleave(20)
    sample = torch.arange(20).repeat(3000)
    first = noise.uniform(3, "test", index, sample, (3,)).double()
    stamps = first[:, 0] * 2**46 + first[:, 1] * 2**23 + first[:, 2]
    assert stamps.unique().numel() == stamps.numel()


@pytest.mark.parametrize("make", [noise.uniform, noise.normal])
def test_uniform_numbers_are_never_at_the_ends_and_normal_ones_are_finite(make):
    drawn = make(0, "test", torch.arange(1000), torch.zeros(1000, dtype=torch.int64), (500,))
    assert drawn.isfinite().all()
    if make is noise.uniform:
        assert drawn.min() > 0
        assert drawn.max() < 1


@IDS
@given(data=st.data())
def test_a_block_depends_on_its_own_image_and_sample_alone(make, data):
    whole = make(5, "test", torch.arange(6).repeat_interleave(4), torch.arange(4).repeat(6), (2, 3, 3)).view(6, 4, 2, 3, 3)
    pairs = data.draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=30))
    index, sample = torch.tensor(pairs).unbind(1)
    assert torch.equal(make(5, "test", index, sample, (2, 3, 3)), whole[index, sample])


def test_rows_past_the_cache_block_are_the_same_bits():
    """Long runs are made in pieces; a row must not depend on the piece it falls in."""
    shape = (3, 200, 200)
    rows = torch.arange(5)
    whole = noise.normal(0, "test", rows, rows, shape)
    for row in range(5):
        assert torch.equal(whole[row : row + 1], noise.normal(0, "test", rows[row : row + 1], rows[row : row + 1], shape))


@IDS
def test_shapes_and_dtype_are_as_asked(make):
    for shape in [(1,), (3,), (1, 1, 1), (3, 5, 7)]:
        drawn = make(0, "test", torch.tensor([4, 9]), torch.tensor([0, 0]), shape)
        assert drawn.shape == (2, *shape)
        assert drawn.dtype == torch.float32


@IDS
def test_the_global_generators_are_left_alone(make, untouched):
    with untouched():
        block(make, 2, 2)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_mixing_is_one_to_one_and_matches_the_reference(a, b):
    mask = (1 << 64) - 1

    def splitmix(x):
        x = (x + 0x9E3779B97F4A7C15) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    mixed = noise.mix(torch.tensor([a, b]))
    assert [value & mask for value in mixed.tolist()] == [splitmix(a & mask), splitmix(b & mask)]
    assert (a == b) == bool(mixed[0] == mixed[1])


def test_the_bits_are_those_of_squares64():
    mask = (1 << 64) - 1

    def squares64(counter, key):
        x = y = (counter * key) & mask
        z = (y + key) & mask
        for addend in (y, z, y):
            x = (x * x + addend) & mask
            x = ((x >> 32) | (x << 32)) & mask
        t = x = (x * x + z) & mask
        x = ((x >> 32) | (x << 32)) & mask
        return t ^ (((x * x + y) & mask) >> 32)

    index, sample = torch.tensor([3, 8]), torch.tensor([0, 5])
    key = noise.derive(11, "test") | 1
    starts = noise.mix(noise.mix(index) + sample)
    expected = [[squares64((start + i) & mask, key) for i in range(4)] for start in starts.tolist()]
    found = torch.cat([bits.clone() for _, _, bits in noise._runs(11, "test", index, sample, 4)]).tolist()
    assert [[bits & mask for bits in row] for row in found] == expected


@pytest.mark.parametrize("kernel", [Gaussian(0.5), Uniform(0.5)])
def test_antithetic_noise_comes_in_pairs_of_opposite_sign(kernel):
    index, sample = torch.tensor([3, 7, 9]).repeat_interleave(6), torch.arange(6).repeat(3)
    drawn = draw(kernel, 0, "test", index, sample, (2, 2), antithetic=True).view(3, 3, 2, 4)
    assert torch.equal(drawn[:, :, 0], -drawn[:, :, 1])
    assert drawn[:, :, 0].flatten().unique().numel() == drawn[:, :, 0].numel()


@given(start=st.integers(0, 34), length=st.integers(1, 35))
def test_antithetic_noise_does_not_depend_on_where_a_chunk_begins(start, length):
    index, sample = torch.arange(5).repeat_interleave(7), torch.arange(7).repeat(5)
    whole = draw(Gaussian(1.0), 0, "test", index, sample, (3,), antithetic=True)
    part = slice(start, start + length)
    assert torch.equal(draw(Gaussian(1.0), 0, "test", index[part], sample[part], (3,), antithetic=True), whole[part])


def test_antithetic_noise_is_the_same_for_an_image_that_comes_twice():
    index, sample = torch.tensor([4, 4]).repeat_interleave(3), torch.arange(3).repeat(2)
    drawn = draw(Gaussian(1.0), 0, "test", index, sample, (2,), antithetic=True).view(2, 3, 2)
    assert torch.equal(drawn[0], drawn[1])


def test_a_kernels_spread_is_its_standard_deviation():
    index, sample = torch.arange(200), torch.zeros(200, dtype=torch.int64)
    for kernel in (Gaussian(0.3), Uniform(0.3)):
        drawn = kernel.sample(0, "test", index, sample, (500,))
        assert abs(drawn.std().item() - kernel.spread) < 0.003
        assert abs(drawn.mean().item()) < 0.005
    assert drawn.abs().max() <= 0.3


@pytest.mark.parametrize("make", [noise.uniform, noise.normal, noise.laplace])
def test_numbers_are_the_same_whatever_torchs_default_format_is(make):
    index, usual = torch.arange(3), torch.get_default_dtype()
    expected = make(0, "a", index, index, (5,))
    torch.set_default_dtype(torch.float64)
    try:
        found = make(0, "a", index, index, (5,))
    finally:
        torch.set_default_dtype(usual)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
