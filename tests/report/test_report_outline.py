"""Outlines of masks as paths along pixel edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from assay.errors import ShapeError
from assay.report.outline import edges, outline_path

STEADY = settings(deadline=None, derandomize=True)


def test_one_pixel_has_four_sides():
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[1, 2] = True
    assert outline_path(mask) == "M2 1H3M2 2H3M2 1V2M3 1V2"


def test_straight_sides_are_one_run():
    across, along = edges(torch.ones(3, 7, dtype=torch.bool))
    assert across == [(0, 0, 7), (3, 0, 7)]
    assert along == [(0, 0, 3), (7, 0, 3)]


def test_empty_mask_has_no_outline():
    assert outline_path(torch.zeros(3, 3, dtype=torch.bool)) == ""


@STEADY
@given(nps.arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_length_is_the_number_of_neighbours_that_differ(mask):
    across, along = edges(torch.from_numpy(mask))
    framed = np.pad(mask, 1).astype(int)
    expected = np.abs(np.diff(framed, axis=0)).sum() + np.abs(np.diff(framed, axis=1)).sum()
    assert sum(end - start for _, start, end in across + along) == expected


def test_mask_with_channels_is_refused():
    with pytest.raises(ShapeError, match=r"must be \(H, W\)"):
        outline_path(torch.zeros(1, 3, 3, dtype=torch.bool))
