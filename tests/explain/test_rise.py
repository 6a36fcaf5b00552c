"""RISE: masks as in the paper, and maps that are their twin, a known mean, and free of the scores' offset."""

import pytest
import torch

import assay
from assay.errors import SpecError
from reference.nets import linear, plain

TARGETS = torch.tensor([1, 0, 2])


@pytest.fixture(scope="module")
def batch():
    return torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("centred", [True, False])
def test_a_map_is_its_slow_twin(centred, batch):
    rise, net = assay.Rise(samples=9, cells=3, keep=0.3, background=assay.MeanColour(), centred=centred), plain(size=12)
    found = rise(assay.Classifier(net), batch, TARGETS, seed=4, index=torch.tensor([5, 0, 9]))
    for place, number in enumerate([5, 0, 9]):
        masks = rise.masks(4, torch.full((9,), number), torch.arange(9), (12, 12))
        grey = batch[place].mean((1, 2), keepdim=True)
        with torch.no_grad():
            scores = torch.stack([net((mask * batch[place] + (1 - mask) * grey)[None])[0, TARGETS[place]] for mask in masks])
        scores = scores - scores.mean() if centred else scores
        expected = sum(score * mask for score, mask in zip(scores, masks, strict=True)) / (9 * 0.3)
        torch.testing.assert_close(found[place], expected, rtol=1e-4, atol=1e-5)


def test_masks_are_smooth_grids_that_show_each_pixel_with_the_wanted_probability():
    rise, many = assay.Rise(cells=4, keep=0.25), 4000
    masks = rise.masks(0, torch.zeros(many, dtype=torch.int64), torch.arange(many), (13, 9))
    assert masks.shape == (many, 1, 13, 9)
    assert masks.min() == 0
    assert masks.max() == 1
    assert (masks.mean(0) - 0.25).abs().max() < 0.03
    assert masks.diff(dim=2).abs().max() < 0.5
    assert len(masks.unique(dim=0)) > many * 0.7


def test_centring_takes_the_scores_offset_out_and_leaves_the_rest(batch):
    weight = torch.randn(432, generator=torch.Generator().manual_seed(0)) / 20
    plainly, offset = (assay.Classifier(linear(weight, bias)) for bias in (0.0, 50.0))
    close, far = (assay.Rise(samples=400)(model, batch, torch.zeros(3, dtype=torch.int64)) for model in (plainly, offset))
    torch.testing.assert_close(close, far, rtol=1e-3, atol=1e-3)
    own, moved = (assay.Rise(samples=400, centred=False)(model, batch, torch.zeros(3, dtype=torch.int64)) for model in (plainly, offset))
    assert (moved - own).std() > 10 * (far - close).std()


def test_it_points_at_the_only_pixels_that_count():
    weight = torch.zeros(1, 16, 16)
    weight[0, 3:6, 10:13] = 1.0
    maps = assay.Rise(samples=800, cells=5)(assay.Classifier(linear(weight.flatten())), torch.ones(1, 1, 16, 16), [0])[0, 0]
    row, column = divmod(int(maps.argmax()), 16)
    assert 2 <= row <= 6
    assert 9 <= column <= 13


@pytest.mark.parametrize("keep", [0.0, 1.0, 1.5])
def test_a_probability_that_is_none_is_refused(keep):
    with pytest.raises(SpecError, match=r"Rise: keep must be in \(0, 1\)"):
        assay.Rise(keep=keep)
