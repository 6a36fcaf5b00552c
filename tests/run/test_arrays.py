"""What is kept of maps: all, eleven bits, or the top."""

import numpy as np
import pytest

from assay.errors import SpecError
from assay.run.arrays import as_kept, check_keeping


def test_rounded_maps_are_float16s_where_these_reach():
    values = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype(np.float32)
    np.testing.assert_array_equal(as_kept(values, "rounded", None), values.astype(np.float16).astype(np.float32))


def test_rounding_goes_to_even_and_has_no_limits_of_size():
    tie = np.float32(2.0**-11)
    values = np.array([1 + tie, 1 + 3 * tie, 2.0**100, -(2.0**-100), np.inf, np.nan], np.float32).reshape(1, 1, 1, 6)
    wanted = np.array([1, 1 + 4 * tie, 2.0**100, -(2.0**-100), np.inf, np.nan], np.float32).reshape(1, 1, 1, 6)
    np.testing.assert_array_equal(as_kept(values, "rounded", None), wanted)


def test_the_top_goes_by_the_channels_summed_size_and_keeps_ties():
    maps = np.array([[[[1.0, -3.0, 2.0, 0.5]], [[1.0, 0.0, 0.0, 0.0]]]], np.float32)  # Sizes 2, 3, 2, 0.5: two tie for the second place.
    np.testing.assert_array_equal(as_kept(maps, "whole", 0.5), [[[[1.0, -3.0, 2.0, 0.0]], [[1.0, 0.0, 0.0, 0.0]]]])
    assert as_kept(maps, "whole", None) is maps


@pytest.mark.parametrize("top", [0.0, 1.0, -0.1, float("nan")])
def test_a_top_that_keeps_none_or_all_is_refused(top):
    with pytest.raises(SpecError, match="keep_top"):
        check_keeping(top)
