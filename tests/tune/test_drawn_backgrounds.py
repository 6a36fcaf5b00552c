import pytest
import torch

import assay
from assay.errors import NotFiniteError, SpecError
from assay.tune.drawn_backgrounds import (
    DatasetMean,
    FromImages,
    GaussianNoise,
    OneOf,
    OtherImages,
    RandomColour,
    fill,
    fit_background,
    keep_background,
)
from reference.specs import own

IMAGES = torch.rand(6, 3, 5, 7, generator=torch.Generator().manual_seed(0))
INDEX = torch.tensor([3, 0, 5, 1, 2, 4])
EVERY = pytest.mark.parametrize("cls", own(assay.Background), ids=lambda cls: cls.__name__)


@EVERY
def test_it_makes_pixels_that_depend_on_the_images_number_and_the_seed_alone(cls):
    background = fit_background(cls(), IMAGES)
    whole = fill(background, IMAGES, INDEX, 3)
    assert whole.shape == IMAGES.shape
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert torch.equal(fill(background, IMAGES, INDEX, 3), whole)
    chosen = [4, 1]
    torch.testing.assert_close(fill(background, IMAGES[chosen], INDEX[chosen], 3), whole[chosen])


@EVERY
def test_only_those_that_draw_differ_from_seed_to_seed(cls):
    background = fit_background(cls(), IMAGES)
    draws = cls in (RandomColour, GaussianNoise, OtherImages, OneOf)
    assert torch.equal(fill(background, IMAGES, INDEX, 0), fill(background, IMAGES, INDEX, 1)) != draws


def test_a_random_colour_is_one_colour_with_the_papers_distribution():
    many = torch.zeros(20000, 3, 2, 2)
    colours = RandomColour().fill(many, torch.arange(20000), 0)
    assert torch.equal(colours, colours[:, :, :1, :1].expand_as(colours))
    found = colours[:, :, 0, 0]
    torch.testing.assert_close(found.median(0).values, torch.tensor([0.527, 0.447, 0.403]), atol=0.01, rtol=0)
    torch.testing.assert_close(found.quantile(0.84, 0) - found.median(0).values, torch.tensor([0.229, 0.224, 0.225]), atol=0.01, rtol=0)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_random_colour_fits_other_numbers_of_channels(channels):
    assert RandomColour().fill(torch.zeros(2, channels, 3, 3), torch.arange(2), 0).shape == (2, channels, 3, 3)
    with pytest.raises(SpecError, match=f"2 channels, but images have {channels}"):
        RandomColour(mean=(0.1, 0.2)).fill(torch.zeros(2, channels, 3, 3), torch.arange(2), 0)


@pytest.mark.parametrize("levels", [False, True])
def test_the_data_sets_mean_is_that_of_its_pixels(levels):
    pool = (IMAGES * 255).round().to(torch.uint8) if levels else IMAGES
    mean = fit_background(DatasetMean(), pool)
    torch.testing.assert_close(mean.fill(IMAGES, INDEX, 0)[2, :, 1, 1], IMAGES.mean((0, 2, 3)), atol=2e-3, rtol=0)
    assert assay.build(repr(mean)) == mean


def test_other_images_are_never_the_image_itself_and_any_other():
    background = fit_background(OtherImages(), IMAGES)
    positions = torch.arange(6)
    seen = [set() for _ in range(6)]
    for seed in range(60):
        for place, made in enumerate(background.fill(IMAGES, positions, seed)):
            seen[place].add(int((made == IMAGES).flatten(1).all(1).nonzero()))
    assert seen == [set(range(6)) - {place} for place in range(6)]


def test_one_of_several_is_drawn_for_each_image():
    both = OneOf((assay.Constant(0.0), assay.Constant(1.0)))
    whole = both.fill(torch.zeros(400, 1, 2, 2), torch.arange(400), 0)
    assert torch.equal(whole, whole[:, :, :1, :1].expand_as(whole))
    assert 0.4 < whole.mean() < 0.6


@pytest.mark.parametrize("background", [DatasetMean(), OtherImages()])
def test_what_needs_a_set_of_images_says_so(background):
    assert isinstance(background, FromImages)
    with pytest.raises(SpecError, match="needs the images first"):
        background.fill(IMAGES, INDEX, 0)


def test_wrong_settings_and_callables_are_refused():
    with pytest.raises(SpecError, match="at least 2 images"):
        fit_background(OtherImages(), IMAGES[:1])
    with pytest.raises(SpecError, match="std must be at least 0"):
        RandomColour(std=(-0.1,))
    with pytest.raises(SpecError, match="at least one background"):
        OneOf(())

    def poisoned(images, index, seed):
        return images * torch.nan

    with pytest.raises(NotFiniteError, match="background returns NaN"):
        fill(poisoned, IMAGES, INDEX, 0)


class Counting(assay.Background):
    """A steady background that counts the images that it was made for."""

    steady = True

    def __init__(self):
        self.made = 0

    def fill(self, images, index, seed):
        self.made += len(images)
        return assay.Blur(1.0).fill(images, index, seed)


@pytest.mark.parametrize("most", [2**20, 3 * IMAGES[0].numel() * 4])
def test_a_steady_background_is_made_once_for_each_image_as_far_as_it_can_be_held(most):
    counting = Counting()
    held = keep_background(counting, most)
    for rows in ([0, 1, 2], [2, 1, 4], [5, 3, 4, 0]):
        torch.testing.assert_close(fill(held, IMAGES[rows], INDEX[rows], 0), assay.Blur(1.0).fill(IMAGES[rows], INDEX[rows], 0))
    assert counting.made == (6 if most == 2**20 else 7)


def test_each_of_several_backgrounds_is_made_once_and_drawn_as_before():
    counting = Counting()
    several = OneOf((counting, RandomColour()))
    held = keep_background(several)
    for seed in range(8):
        torch.testing.assert_close(fill(held, IMAGES, INDEX, seed), fill(several, IMAGES, INDEX, seed))
    drawn_in_all = counting.made
    for seed in range(8):
        fill(held, IMAGES, INDEX, seed)
    assert counting.made == drawn_in_all


def test_a_background_that_draws_or_costs_nothing_is_left_as_it_is():
    for background in (RandomColour(), DatasetMean((0.5,)), lambda images, *_: images):
        assert keep_background(background) is background
