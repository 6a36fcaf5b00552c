import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.study.run_settings import differences, plain, settings_text

LEAVES = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(st.characters(exclude_categories=["Cs"]))
)
SETTINGS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.recursive(
        LEAVES | st.lists(LEAVES), lambda inner: st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), inner)
    ),
)


@given(SETTINGS)
def test_settings_come_back_from_their_text(settings):
    assert tomllib.loads(settings_text(settings)) == settings
    assert differences(settings, settings) == []


def test_none_is_left_out_and_paths_and_tuples_become_plain():
    assert plain({"a": None, "b": Path("x/y"), "c": (1, (2.5,)), "d": {"e": None, "f": Path("z")}}) == {
        "b": "x/y",
        "c": [1, [2.5]],
        "d": {"f": "z"},
    }


def test_every_difference_is_named_with_both_values():
    old = {"a": 1, "b": {"c": "x", "d": [1]}, "gone": True, "same": math.nan}
    new = {"a": 2, "b": {"c": "y", "d": [1]}, "new": 0.5, "same": math.nan}
    assert differences(old, new) == ["a is 2, there 1", 'b.c is "y", there "x"', "gone is not set, there true", "new is 0.5, there not set"]


def test_truth_is_no_number_and_long_values_are_cut():
    assert differences({"a": 1}, {"a": True}) == ["a is true, there 1"]
    assert all(len(one) < 200 for one in differences({"a": "x" * 999}, {"a": "y" * 999}))


def test_what_no_settings_file_can_hold_is_refused():
    with pytest.raises(TypeError, match="a setting must be"):
        settings_text({"a": object()})
