import numpy as np
import pytest
import torch
from torch import nn

import assay
from assay.core import noise
from assay.errors import SpecError
from assay.measure.road import impute
from reference.measures import order_of, probability
from reference.nets import plain

TARGETS = torch.tensor([1, 0, 3])
NEIGHBOURS = {
    (1, 1): 1 / 12,
    (0, 1): 1 / 6,
    (-1, 1): 1 / 12,
    (1, -1): 1 / 12,
    (0, -1): 1 / 6,
    (-1, -1): 1 / 12,
    (1, 0): 1 / 6,
    (-1, 0): 1 / 6,
}


def imputed(image, gone):
    """One equation per pixel that is gone, solved as they stand."""
    places = [(int(row), int(column)) for row, column in gone.nonzero()]
    number = {place: at for at, place in enumerate(places)}
    left, right = np.zeros((len(places),) * 2), np.zeros((len(places), len(image)))
    for (row, column), at in number.items():
        for (down, across), weight in NEIGHBOURS.items():
            other = (row + down, column + across)
            if not (0 <= other[0] < gone.shape[0] and 0 <= other[1] < gone.shape[1]):
                continue
            left[at, at] += weight
            if other in number:
                left[at, number[other]] -= weight
            else:
                right[at] += weight * image[:, other[0], other[1]].double().numpy()
    filled = image.clone()
    if places:
        filled[:, gone] = torch.from_numpy(np.linalg.solve(left, right).T).float()
    return filled


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize(("channels", "size"), [(3, 9), (1, 12)])
def test_every_pixel_that_is_gone_solves_its_equation(share, channels, size, images):
    batch = images(4, channels, size)
    gone = torch.rand(4, 1, size, size, generator=torch.Generator().manual_seed(1)) < share
    gone[0, :, 1 : size - 2], gone[:, :, 0, 0] = True, False
    found = impute(batch, gone)
    for image, hole, filled in zip(batch, gone, found, strict=True):
        torch.testing.assert_close(filled, imputed(image, hole[0]), rtol=1e-4, atol=1e-4)
        assert torch.equal(filled[:, ~hole[0]], image[:, ~hole[0]])


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_left_of_a_large_hole_is_within_the_stated_error(seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 2, 36, 36, generator=generator)
    gone = torch.ones(2, 1, 36, 36, dtype=torch.bool)
    gone[0, :, 30:, 5:9] = False
    gone[1] = nn.functional.interpolate(torch.randn(1, 1, 5, 5, generator=generator), 36, mode="bilinear")[0] < 0.8
    for filled, hole in zip(impute(image.expand(2, -1, -1, -1), gone), gone, strict=True):
        assert (filled - imputed(image[0], hole[0])).abs().max() < 1e-4


def test_a_ramp_is_filled_in_exactly():
    down = torch.linspace(0, 1, 9)[:, None] * 0.7 + torch.linspace(0, 1, 11) * 0.3
    gone = torch.zeros(1, 1, 9, 11, dtype=torch.bool)
    gone[..., 2:7, 3:9] = True
    torch.testing.assert_close(impute(down[None, None], gone)[0, 0], down, rtol=1e-4, atol=1e-5)


def test_an_image_that_is_gone_is_its_mean_colour_and_one_that_is_whole_is_itself(images):
    gone = torch.tensor([True, False]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    found = impute(images(2), gone)
    torch.testing.assert_close(found[0], images(2)[0].mean((1, 2), keepdim=True).expand(3, 8, 8))
    assert torch.equal(found[1], images(2)[1])


def test_an_image_is_filled_the_same_in_any_company(images):
    gone = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.7
    gone[3, :, :6] = True
    whole = impute(images(5), gone)
    for at in range(5):
        torch.testing.assert_close(impute(images(5)[at : at + 1], gone[at : at + 1])[0], whole[at])


@pytest.mark.parametrize("order", ["signed", "magnitude"])
def test_scores_are_their_slow_twins(order, images):
    net, maps, seed = plain(nn.GELU), images(seed=1) - 0.5, 4
    fractions, index = (0.1, 0.5, 0.9), torch.tensor([7, 0, 3])
    found = assay.Road(fractions, 0.05, order)(assay.Classifier(net), images(), maps, TARGETS, seed=seed, index=index)
    for at in range(3):
        heights = []
        for fraction in fractions:
            cut = round(fraction * 64)
            gone = torch.zeros(8, 8, dtype=torch.bool)
            for row, column in order_of(maps[at], order)[:cut]:
                gone[row, column] = True
            drawn = noise.normal(seed, "Road", index[at : at + 1], torch.tensor([cut]), (3, 8, 8))[0]
            heights.append(probability(net, imputed(images()[at], gone) + 0.05 * drawn * gone, TARGETS[at]))
        assert found[at].item() == pytest.approx(sum(heights) / 3, abs=1e-4)


def test_one_forward_pass_per_image_map_and_share(images):
    model = assay.Classifier(plain())
    assay.Road((0.2, 0.4))(model, images(), images(seed=1), TARGETS)
    assert model.passes.forward == 3 * 2


@pytest.mark.parametrize("fractions", [(), (0.0,), (0.5, 1.0)])
def test_shares_lie_between_0_and_1(fractions):
    with pytest.raises(SpecError, match="fractions"):
        assay.Road(fractions)
