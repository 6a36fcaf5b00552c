"""What the studies of masks judge with."""

import pytest
import torch

from assay.explain.backgrounds import Blur
from assay.papers.diet.evaluation import faint
from assay.tune.drawn_backgrounds import RandomColour


@pytest.mark.parametrize("channels", [1, 3])
def test_the_authors_evaluation_draws_colours_a_tenth_as_wide_around_the_same_mean(channels):
    images, index = torch.zeros(400, channels, 2, 2), torch.arange(400)
    wide, narrow = (one.fill(images, index, 0)[:, :, 0, 0] for one in (RandomColour(), faint(RandomColour(), channels)))
    torch.testing.assert_close(narrow.mean(0), wide.mean(0), atol=0.02, rtol=0)
    assert (narrow.std(0) < 0.12 * wide.std(0)).all()


def test_other_backgrounds_are_left_as_they_are():
    assert faint(Blur(), 3) == Blur()
    assert faint(RandomColour(std=(0.2,)), 3).std == pytest.approx((0.02,))
