"""The signed colour scale: neutral at zero, symmetric, saturating at its limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import ShapeError
from assay.report import colour_bar, colourise, robust_limit
from assay.report.figures.colour import NOT_FINITE, signed_levels, signed_palette

STEADY = settings(deadline=None, derandomize=True)


def rgb(attribution: torch.Tensor, limit: float) -> np.ndarray:
    return np.asarray(colourise(attribution, limit).convert("RGB"))


def test_zero_is_neutral():
    red, green, blue = rgb(torch.zeros(3, 1, 1), 1.0)[0, 0]
    assert red == green == blue == 0xF7


def test_positive_is_red_and_negative_is_blue():
    plus, minus = rgb(torch.tensor([[[0.5, -0.5]]]), 1.0)[0].astype(int)
    assert plus[0] > plus[2] + 50
    assert minus[2] > minus[0] + 50


def test_channels_are_added_with_their_signs():
    opposed = torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1)
    np.testing.assert_array_equal(rgb(opposed, 1.0), rgb(torch.zeros(1, 1, 1), 1.0))


@STEADY
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_levels_are_symmetric_about_zero(value, limit):
    plus, minus = signed_levels(np.array([value, -value]), limit).astype(int)
    assert plus + minus == 254


@STEADY
@given(st.lists(st.floats(-1e6, 1e6), min_size=2), st.floats(1e-6, 1e6))
def test_levels_grow_with_the_value_and_stay_on_the_scale(values, limit):
    levels = signed_levels(np.sort(np.array(values)), limit).astype(int)
    assert (np.diff(levels) >= 0).all()
    assert levels.min() >= 0
    assert levels.max() <= 254


def test_scale_ends_at_the_limit():
    np.testing.assert_array_equal(signed_levels(np.array([-9.0, -2.0, 0.0, 2.0, 9.0]), 2.0), [0, 0, 127, 254, 254])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_get_their_own_grey(value):
    np.testing.assert_array_equal(signed_levels(np.array([value]), 1.0), [NOT_FINITE])
    assert (rgb(torch.full((1, 1, 1), value), 1.0) == 128).all()
    assert not (signed_palette()[:NOT_FINITE] == 128).all(axis=1).any()


def test_limit_zero_paints_all_neutral():
    np.testing.assert_array_equal(signed_levels(np.array([0.0, 3.0]), 0.0), [127, 127])


def test_limit_is_the_quantile_of_added_channels_without_the_rest():
    maps = torch.full((10, 2, 10, 10), 0.5)
    maps[0, 0, 0, 0] = 1000.0
    maps[1, 0, 0, 0] = torch.nan
    maps[2, 0, 0, 0] = torch.inf
    assert robust_limit(maps) == 1.0


def test_limit_of_a_very_sparse_map_is_its_maximum():
    maps = torch.zeros(1, 1, 50, 50)
    maps[0, 0, 3, 3] = -4.0
    assert robust_limit(maps) == 4.0


@pytest.mark.parametrize("fill", [0.0, float("nan")])
def test_limit_without_any_value_is_zero(fill):
    assert robust_limit(torch.full((1, 1, 4, 4), fill)) == 0.0


def test_bar_runs_over_the_whole_scale_once():
    bar = np.asarray(colour_bar())
    np.testing.assert_array_equal(bar, np.arange(255)[None])


def test_map_without_channels_is_refused():
    with pytest.raises(ShapeError, match=r"\(C, H, W\), not \(4, 4\)"):
        colourise(torch.zeros(4, 4), 1.0)
