from math import comb

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import assay
from reference.measures import mask_iou, mass_share
from reference.nets import plain

MODEL = assay.Classifier(plain())


def iou(maps, truth, order="magnitude"):
    batch = torch.full((len(maps), 3, *maps.shape[2:]), 0.5)
    return assay.MaskIoU(order)(MODEL, batch, maps, torch.zeros(len(maps), dtype=torch.int64), truth=truth)


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(1, 63), st.sampled_from(["signed", "magnitude"]), st.sampled_from([1, 3]))
def test_it_is_its_slow_twin(seed, size, order, channels):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(1, channels, 8, 8, generator=generator)
    truth = (torch.randperm(64, generator=generator) < size).view(1, 1, 8, 8)
    assert iou(maps, truth, order).item() == pytest.approx(mask_iou(maps[0], truth[0, 0], order))


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(1, 32))
def test_the_mask_itself_scores_1_and_its_complement_0(seed, size):
    truth = (torch.randperm(64, generator=torch.Generator().manual_seed(seed)) < size).view(1, 1, 8, 8)
    assert iou(truth.float(), truth).item() == 1.0
    assert iou(1 - truth.float(), truth).item() == 0.0


def test_an_empty_mask_has_no_score_and_a_full_one_is_always_met():
    maps = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    truth = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    found = iou(maps, truth)
    assert found[0].isnan()
    assert found[1] == 1.0


def test_the_sign_counts_in_signed_order_only():
    truth = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    truth[..., :2] = True
    assert iou(-truth.float(), truth, "magnitude").item() == 1.0
    assert iou(-truth.float(), truth, "signed").item() == 0.0


def test_half_an_overlap_is_known_by_hand():
    """Mask of 16 pixels, 8 of them on top: 8 / (16 + 16 - 8)."""
    truth, maps = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    truth[..., :2] = 1.0
    maps[..., 1:3] = 1.0
    assert iou(maps, truth).item() == pytest.approx(8 / 24)


def test_a_random_map_scores_chance():
    """k of the p top pixels fall into the mask as in a draw without replacement; the mean of k / (2p - k) is known."""
    size, total = 16, 64
    chance = sum(comb(size, k) * comb(total - size, size - k) / comb(total, size) * k / (2 * size - k) for k in range(size + 1))
    batch = torch.rand(400, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    truth = torch.zeros(400, 1, 8, 8, dtype=torch.bool)
    truth[:, :, 2:6, 2:6] = True
    maps = assay.RandomMap()(MODEL, batch)
    found = assay.MaskIoU()(MODEL, batch, maps, truth=truth)
    assert abs(found.mean() - chance) < 4.5 * found.std() / 400**0.5


def share(maps, masks, mass="magnitude", measure=assay.TruthShare):
    batch = torch.full((len(maps), 3, *maps.shape[2:]), 0.5)
    name = "truth" if measure is assay.TruthShare else "distractor"
    return measure(mass)(MODEL, batch, maps, torch.zeros(len(maps), dtype=torch.int64), **{name: masks})


@settings(max_examples=30)
@given(st.integers(0, 999), st.integers(1, 63), st.sampled_from(["magnitude", "positive"]), st.sampled_from([1, 3]))
def test_shares_are_their_slow_twin(seed, size, mass, channels):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(1, channels, 8, 8, generator=generator)
    mask = (torch.randperm(64, generator=generator) < size).view(1, 1, 8, 8)
    expected = mass_share(maps[0], mask[0, 0], mass)
    for measure in (assay.TruthShare, assay.DistractorShare):
        assert share(maps, mask, mass, measure).item() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=20)
@given(st.integers(0, 999), st.sampled_from(["magnitude", "positive"]), st.sampled_from([1e-30, 1e30]))
def test_a_masks_share_and_its_complements_are_one_whatever_the_maps_scale(seed, mass, scale):
    generator = torch.Generator().manual_seed(seed)
    maps, mask = torch.randn(2, 3, 8, 8, generator=generator), torch.rand(2, 1, 8, 8, generator=generator) > 0.5
    found = share(maps * scale, mask, mass)
    torch.testing.assert_close(found + share(maps * scale, ~mask, mass), torch.ones(2))
    torch.testing.assert_close(found, share(maps, mask, mass))


def test_a_map_of_two_levels_is_known_by_hand():
    mask, maps = torch.zeros(1, 1, 8, 8, dtype=torch.bool), torch.ones(1, 1, 8, 8)
    mask[..., :3] = True
    maps[..., :1] = -3.0
    assert share(maps, mask).item() == pytest.approx((3 + 2) / (3 + 7))
    assert share(maps, mask, "positive").item() == pytest.approx(2 / 7)


def test_without_a_mask_or_mass_there_is_no_share():
    masks = torch.ones(3, 1, 8, 8, dtype=torch.bool)
    masks[0] = False
    maps = torch.ones(3, 1, 8, 8)
    maps[:, :, 0] = 2.0
    maps[1] = 0.0
    assert share(maps, masks).isnan().tolist() == [True, True, False]
    assert share(-maps, masks, "positive").isnan().all()


def pointing(maps, truth, *settings):
    batch = torch.full((len(maps), 3, *maps.shape[2:]), 0.5)
    return assay.PointingGame(*settings)(MODEL, batch, maps, torch.zeros(len(maps), dtype=torch.int64), truth=truth).tolist()


def test_the_largest_pixel_hits_or_misses():
    truth, maps = torch.zeros(3, 1, 8, 8, dtype=torch.bool), torch.zeros(3, 3, 8, 8)
    truth[:2, :, 2:4, 2:4] = True
    maps[:, 1, 2, 3], maps[1, 0, 5, 5], maps[:, 0, 7, 7] = 1.0, 2.0, -3.0
    hits = pointing(maps, truth)
    assert hits[:2] == [1.0, 0.0]
    assert hits[2] != hits[2]
    assert pointing(maps, truth, "magnitude")[0] == 0.0


def test_pixels_beside_the_mask_count_within_the_tolerance():
    truth, maps = torch.zeros(1, 1, 8, 8, dtype=torch.bool), torch.zeros(1, 1, 8, 8)
    truth[..., 2, 2], maps[..., 4, 4] = True, 1.0
    assert [pointing(maps, truth, "signed", tolerance) for tolerance in (0, 1, 2)] == [[0.0], [0.0], [1.0]]


def test_of_several_largest_pixels_the_share_that_hits_counts():
    truth, maps = torch.zeros(1, 1, 8, 8, dtype=torch.bool), torch.zeros(1, 1, 8, 8)
    truth[..., :3, :], maps[..., 1:5, 0] = True, 1.0
    assert pointing(maps, truth) == [0.5]
