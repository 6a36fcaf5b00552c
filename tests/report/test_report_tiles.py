"""The gallery's pictures and captions."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from assay.errors import ShapeError
from assay.report.figures.tiles import display_side, wall

STEADY = settings(deadline=None, derandomize=True)


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def test_every_image_has_a_tile_of_every_explainer(gallery):
    shown = wall(gallery)
    assert [case.name for case in shown.cases] == ["first.png", "second.png"]
    assert [tile.explainer for tile in shown.cases[0].tiles] == ["Gradient", "Lime"]


def test_caption_tells_right_from_wrong_from_unknown(gallery, change):
    first, second = wall(change(gallery, labels=("dog", ""))).cases
    assert (first.correct, first.probability) == (True, "75%")
    assert (second.correct, second.probability) == (None, "n/a")
    assert wall(gallery).cases[0].correct is False


def test_units_of_an_explainer_do_not_change_its_colours(gallery, change):
    scaled = change(gallery, maps={name: maps * 1000 for name, maps in gallery.maps.items()})
    before, after = wall(gallery), wall(scaled)
    assert [tile.uri for case in before.cases for tile in case.tiles] == [tile.uri for case in after.cases for tile in case.tiles]


def test_maps_of_one_explainer_share_their_scale(gallery, change):
    maps = torch.ones(2, 1, 8, 8)
    maps[1] *= 0.1
    first, second = (pixels(case.tiles[0].uri) for case in wall(change(gallery, maps={"Lime": maps})).cases)
    assert (first == first[0, 0]).all()
    assert tuple(first[0, 0]) == (0x67, 0x00, 0x1F)
    assert second[0, 0].min() > 200


def test_zero_map_is_neutral(gallery, change):
    case = wall(change(gallery, maps={"Lime": torch.zeros(2, 1, 8, 8)})).cases[0]
    assert (pixels(case.tiles[0].uri) == 0xF7).all()


def test_damaged_maps_are_marked(gallery, change):
    maps = torch.zeros(2, 1, 8, 8)
    maps[1, 0, 0, 0] = torch.nan
    shown = wall(change(gallery, maps={"Lime": maps}))
    assert [case.tiles[0].damaged for case in shown.cases] == [False, True]
    assert shown.damaged


def test_outlines_are_there_only_where_masks_are(gallery, change):
    shown = wall(gallery)
    assert (shown.has_truth, shown.has_distractor) == (True, True)
    assert shown.cases[1].truth
    assert not shown.cases[1].distractor
    bare = wall(change(gallery, truth=None, distractor=None))
    assert (bare.has_truth, bare.has_distractor, bare.cases[0].truth) == (False, False, "")


def test_large_images_are_reduced_and_small_ones_kept(gallery, change):
    large = change(
        gallery,
        images=torch.full((2, 3, 900, 1200), 0.5),
        maps={"Lime": torch.ones(2, 1, 900, 1200)},
        truth=None,
        distractor=None,
    )
    shown = wall(large)
    assert shown.reduced
    height, width, _ = pixels(shown.cases[0].uri).shape
    assert width == shown.side
    assert height == round(width * 0.75)
    assert not wall(gallery).reduced


@STEADY
@given(st.integers(1, 50), st.integers(0, 16), st.integers(1, 4000))
def test_pictures_together_stay_within_the_budget(images, explainers, side):
    shown = display_side(images, explainers, side)
    assert 0 < shown <= side
    assert images * (3 + explainers) * shown**2 <= 2_600_000 or shown == 48


@pytest.mark.parametrize(("explainers", "columns"), [(0, 1), (1, 1), (6, 6), (8, 8), (9, 5), (16, 8)])
def test_tiles_fill_even_lines(gallery, change, explainers, columns):
    maps = {f"E{i}": torch.zeros(2, 1, 8, 8) for i in range(explainers)}
    assert wall(change(gallery, maps=maps)).columns == columns


def test_pixels_that_an_explainer_cannot_tell_from_0_are_hatched_in_its_maps_alone(gallery, change):
    doubt = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    doubt[1, :, :4] = True
    plain, shown = wall(gallery), wall(change(gallery, doubt={"Lime": doubt}))
    assert (plain.doubtful, shown.doubtful) == (False, True)
    before, after = ([pixels(case.tiles[1].uri) for case in one.cases] for one in (plain, shown))
    assert np.array_equal(before[0], after[0])
    lines = np.add.outer(np.arange(4), np.arange(8)) % 4 == 0
    colours = [np.unique(after[1][:4][place], axis=0) for place in (lines, ~lines)]
    assert [len(one) for one in colours] == [1, 1]
    assert colours[0].max() < colours[1].min()
    assert np.array_equal(before[1][4:], after[1][4:])
    assert not shown.cases[1].tiles[1].damaged
    assert [case.tiles[0].uri for case in plain.cases] == [case.tiles[0].uri for case in shown.cases]


def test_a_doubt_of_another_size_is_refused(gallery, change):
    with pytest.raises(ShapeError, match=r"doubt of Lime is torch.bool \(2, 1, 4, 4\)"):
        change(gallery, doubt={"Lime": torch.zeros(2, 1, 4, 4, dtype=torch.bool)})
