import pytest
import torch
from scipy import stats
from skimage.metrics import structural_similarity

import assay
from assay.attack.distances import centres, magnitude
from assay.errors import SpecError
from reference.specs import cheap, own

EVERY = pytest.mark.parametrize("distance", [cheap(cls) for cls in own(assay.Distance)], ids=repr)


def maps(seed=0, count=4, channels=3, size=16):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


@EVERY
def test_equal_maps_are_at_distance_zero_and_different_ones_are_not(distance):
    torch.testing.assert_close(distance(maps(), maps()), torch.zeros(4), rtol=0, atol=1e-5)
    assert (distance(maps(), maps(1)) > 0.01).all()


@EVERY
def test_the_stand_in_can_be_differentiated_and_climbing_it_enlarges_the_distance(distance):
    clean, moved = maps(), maps() + 0.1 * maps(1)
    before = distance(clean, moved)
    for _ in range(50):
        moved = moved.detach().requires_grad_()
        slope = torch.autograd.grad(distance.smooth(clean, moved).sum(), moved)[0]
        moved = moved + 2.0 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert (distance(clean, moved) > before).all()


@EVERY
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_maps_of_zeros_and_of_any_scale_give_finite_distances_and_slopes(distance, scale):
    zeros = torch.zeros(4, 3, 16, 16)
    for one, other in ((zeros, zeros), (zeros, scale * maps()), (scale * maps(), zeros), (scale * maps(), scale * maps(1))):
        moved = other.clone().requires_grad_()
        assert distance(one, other).isfinite().all()
        assert torch.autograd.grad(distance.smooth(one, moved).sum(), moved)[0].isfinite().all()


@EVERY
def test_bounded_distances_do_not_depend_on_a_maps_scale(distance):
    if distance.bounded:
        torch.testing.assert_close(distance(maps(), 7 * maps(1)), distance(3 * maps(), maps(1)), rtol=1e-4, atol=1e-5)
        assert (distance(maps(), maps(1)) <= 2).all()


def test_spearman_is_scipys_ties_included():
    one, other = magnitude(maps()).round(decimals=1), magnitude(maps(1)).round(decimals=1)
    found = assay.Spearman()(one.view(4, 1, 16, 16), other.view(4, 1, 16, 16))
    for i in range(4):
        assert float(found[i]) == pytest.approx(1 - stats.spearmanr(one[i].numpy(), other[i].numpy()).statistic, abs=1e-5)


@pytest.mark.parametrize("size", [16, 8])
def test_ssim_is_scikit_images(size):
    one, other = maps(size=size), maps(size=size) + 0.5 * maps(1, size=size)
    found = assay.SSIM()(one, other)
    side = min(11, size - 1)
    for i in range(4):
        x, y = (part[i].abs().sum(0).double().numpy() for part in (one, other))
        if side == 11:
            expected = structural_similarity(
                x / x.max(), y / y.max(), data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            assert float(found[i]) == pytest.approx(1 - expected, abs=1e-4)
        else:
            assert 0 < float(found[i]) < 2


def test_top_k_counts_the_shared_top_pixels():
    one, other = torch.zeros(1, 2, 5, 4), torch.zeros(1, 2, 5, 4)
    one[0, 0].view(-1)[[0, 1, 2, 3]] = torch.tensor([4.0, -3.0, 2.0, 1.0])
    other[0, 1].view(-1)[[0, 3, 8, 9]] = torch.tensor([4.0, -3.0, 2.0, 1.0])
    assert float(assay.TopK(0.2)(one, other)) == pytest.approx(0.5)
    assert float(assay.TopK(0.1)(one, other)) == pytest.approx(0.5)
    assert float(assay.TopK(0.05)(one, other)) == pytest.approx(0.0)


def test_signed_distances_tell_a_map_from_its_negative():
    one = maps()
    torch.testing.assert_close(assay.Spearman(signed=True)(one, -one), torch.full((4,), 2.0))
    torch.testing.assert_close(assay.Spearman()(one, -one), torch.zeros(4))
    assert torch.equal(assay.TopK(0.1, signed=True)(one, -one), torch.ones(4))
    assert torch.equal(assay.TopK(0.1)(one, -one), torch.zeros(4))


def test_signed_rank_correlation_is_scipys_of_the_channels_sums():
    one, other = maps(), maps(1)
    for i, found in enumerate(assay.Spearman(signed=True)(one, other)):
        expected = stats.spearmanr(one[i].sum(0).flatten(), other[i].sum(0).flatten()).statistic
        assert float(found) == pytest.approx(1 - expected, abs=1e-5)


def test_l2_and_cosine_are_the_textbooks_of_signed_maps():
    one, other = maps(), maps(1)
    torch.testing.assert_close(assay.L2()(one, other), (one - other).flatten(1).norm(dim=1))
    cosine = torch.nn.functional.cosine_similarity(one.flatten(1), other.flatten(1))
    torch.testing.assert_close(assay.Cosine()(one, other), 1 - cosine)
    torch.testing.assert_close(assay.Cosine()(one, -one), torch.full((4,), 2.0))


def test_the_centre_of_mass_is_where_the_magnitude_is():
    one, other = torch.zeros(2, 1, 6, 8), torch.zeros(2, 1, 6, 8)
    one[:, 0, 2, 3], other[:, 0, 5, 7] = -2.0, 1.0
    assert torch.equal(centres(one), torch.tensor([[2.0, 3.0]] * 2))
    assert torch.equal(assay.CentreShift()(one, other), torch.tensor([5.0, 5.0]))
    assert torch.equal(centres(torch.zeros(1, 1, 6, 8)), torch.tensor([[2.5, 3.5]]))


def test_a_fraction_outside_zero_to_one_is_refused():
    for fraction in (0.0, 1.0, -0.1):
        with pytest.raises(SpecError, match="fraction must be in"):
            assay.TopK(fraction)
