"""Photographs, overlays and their files."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from assay.errors import ShapeError
from assay.report import certified, data_uri, magnified, overlay, photo, png_bytes


def test_photo_keeps_every_pixel():
    image = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    shown = np.asarray(photo(image))
    np.testing.assert_array_equal(shown, (image * 255).round().byte().permute(1, 2, 0).numpy())


def test_certified_pixels_are_red_in_the_top_blue_out_of_it_and_grey_where_open():
    shown = np.asarray(certified(torch.full((3, 1, 3), 0.5), torch.tensor([[1, 0, -1]], dtype=torch.int8), 3)).astype(int)[0]
    assert shown[0, 0] > shown[0, 2] + 50
    assert len(set(shown[1])) == 1
    assert shown[2, 2] > shown[2, 0] + 50
    with pytest.raises(ShapeError):
        certified(torch.zeros(3, 4, 4), torch.zeros(2, 2, dtype=torch.int8))


def test_grey_photo_has_one_band():
    assert photo(torch.zeros(1, 4, 6)).size == (6, 4)
    assert photo(torch.zeros(1, 4, 6)).mode == "L"


def test_photo_of_two_channels_is_refused():
    with pytest.raises(ShapeError, match=r"\(2, 4, 4\)"):
        photo(torch.zeros(2, 4, 4))


@pytest.mark.parametrize(("side", "expected"), [(1, (6, 4)), (6, (6, 4)), (7, (12, 8)), (30, (30, 20))])
def test_enlarge_repeats_whole_pixels(side, expected):
    shown = magnified(photo(torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0))), side)
    assert shown.size == expected
    factor = expected[0] // 6
    pixels = np.asarray(shown)
    np.testing.assert_array_equal(pixels[::factor, ::factor].repeat(factor, 0).repeat(factor, 1), pixels)


def test_overlay_of_a_zero_map_is_the_image_in_grey():
    shown = np.asarray(overlay(torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(3, 4, 4), side=4))
    assert (shown == shown[..., :1]).all()


def test_overlay_shows_the_sign_in_colour():
    attribution = torch.tensor([[[1.0, -1.0]]])
    plus, minus = np.asarray(overlay(torch.zeros(3, 1, 2), attribution, side=2)).astype(int)[0]
    assert plus[0] > plus[2]
    assert minus[2] > minus[0]


def test_overlays_with_one_limit_can_be_compared():
    image, weak, strong = torch.zeros(3, 2, 2), torch.full((1, 2, 2), 0.1), torch.full((1, 2, 2), 1.0)
    shared = [np.asarray(overlay(image, one, limit=1.0)) for one in (weak, strong)]
    own = [np.asarray(overlay(image, one)) for one in (weak, strong)]
    assert (shared[0] != shared[1]).any()
    np.testing.assert_array_equal(own[0], own[1])


def test_overlay_draws_the_truth_on_top():
    truth = torch.zeros(1, 4, 4, dtype=torch.bool)
    truth[0, 1:3, 1:3] = True
    plain, outlined = (np.asarray(overlay(torch.full((3, 4, 4), 0.5), torch.zeros(1, 4, 4), truth=t)) for t in (None, truth))
    assert (outlined[64, 64:192] == 0).all()
    assert not (plain[64, 64:192] == 0).all()
    np.testing.assert_array_equal(outlined[128, 128], plain[128, 128])


def test_overlay_refuses_a_map_of_another_size():
    with pytest.raises(ShapeError, match=r"needs \(C, 4, 4\)"):
        overlay(torch.zeros(3, 4, 4), torch.zeros(1, 2, 2))


def test_overlay_refuses_a_mask_of_another_size():
    with pytest.raises(ShapeError, match="4 x 4"):
        overlay(torch.zeros(3, 4, 4), torch.zeros(1, 4, 4), truth=torch.zeros(2, 2, dtype=torch.bool))


def test_data_uri_holds_the_png_itself():
    picture = photo(torch.zeros(3, 2, 2))
    head, body = data_uri(picture).split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == png_bytes(picture)
    assert Image.open(io.BytesIO(png_bytes(picture))).size == (2, 2)
