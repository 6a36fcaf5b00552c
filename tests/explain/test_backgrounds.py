import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2.functional import gaussian_blur

import assay
from assay.explain.backgrounds import background_scores
from reference.nets import plain

ALL = pytest.mark.parametrize("background", [assay.Constant(0.25), assay.MeanColour(), assay.Blur(2.0)], ids=repr)
INDEX = torch.arange(3)


def test_each_background_is_what_it_says(images):
    batch = images()
    assert torch.equal(assay.Constant(0.25).fill(batch, INDEX, 0), torch.full_like(batch, 0.25))
    torch.testing.assert_close(assay.MeanColour().fill(batch, INDEX, 0), batch.mean((2, 3), keepdim=True).expand_as(batch))
    torch.testing.assert_close(assay.Blur(1.0).fill(batch, INDEX, 0), gaussian_blur(batch, [7, 7], [1.0, 1.0]))


@ALL
def test_scores_are_those_of_the_filled_images(background, images):
    model, targets = assay.Classifier(plain()), torch.tensor([0, 1, 3])
    filled = background.fill(images(), INDEX, 0)
    expected = plain()(filled)[INDEX, targets].detach()
    torch.testing.assert_close(background_scores(model, background, filled, targets), expected)
    assert model.passes.forward == (1 if background.shared else 3)


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.1, 50))
def test_a_blur_fits_any_image_and_keeps_one_colour(height, width, sigma):
    batch = torch.full((2, 3, height, width), 0.5)
    torch.testing.assert_close(assay.Blur(sigma).fill(batch, torch.arange(2), 0), batch)
