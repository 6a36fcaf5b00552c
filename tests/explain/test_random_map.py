import pytest
import torch
from scipy import stats

import assay
from reference.nets import plain


def maps(batch, **settings):
    return assay.RandomMap()(assay.Classifier(plain()), batch, **settings)


def test_it_is_normal_noise(images):
    drawn = maps(images(50)).flatten()
    assert stats.kstest(drawn.numpy(), stats.norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 3, 5), (2, 7, 7)])
def test_the_smallest_change_of_one_pixel_changes_it_altogether(place, images):
    batch = images(4)
    nearby = batch.clone()
    nearby[(slice(None), *place)] = torch.nextafter(batch[(slice(None), *place)], torch.tensor(2.0)).clamp_max(1.0)
    one, other = maps(batch).flatten(), maps(nearby).flatten()
    assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 4.5 / one.numel() ** 0.5


def test_swapped_pixels_change_it_altogether(images):
    one, other = maps(images(4)).flatten(), maps(images(4).flip(3)).flatten()
    assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 4.5 / one.numel() ** 0.5


def test_it_depends_on_seed_and_index(images):
    base = maps(images())
    for settings in ({"seed": 1}, {"index": torch.arange(3) + 3}):
        other = maps(images(), **settings)
        assert abs(torch.corrcoef(torch.stack([base.flatten(), other.flatten()]))[0, 1]) < 0.2
