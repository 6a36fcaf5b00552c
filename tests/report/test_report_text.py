"""Numbers and names for readers."""

from __future__ import annotations

import html

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.report.text import breakable, decimals_for, measure_names, number, percent, plain_names, plural

STEADY = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.41234, 3, "0.412"),
        (0.0, 3, "0.000"),
        (-0.5, 3, "−0.500"),
        (0.00123, 3, "0.0012"),
        (0.0000123, 3, "1.23×10⁻⁵"),
        (-0.0000123, 3, "−1.23×10⁻⁵"),
        (1234.5, 0, "1234"),
        (1.5e7, 0, "1.50×10⁷"),
        (None, 3, "n/a"),
        (float("nan"), 3, "n/a"),
        (float("inf"), 3, "n/a"),
    ],
)
def test_numbers_keep_their_digits(value, decimals, text):
    assert number(value, decimals) == text


@STEADY
@given(st.floats(1e-4, 1e5))
def test_plain_numbers_are_right_within_five_per_cent(value):
    shown = number(value, decimals_for([value]))
    if "×" not in shown:
        assert float(shown) == pytest.approx(value, rel=0.05)


@pytest.mark.parametrize(
    ("values", "decimals"),
    [([0.5, 0.01], 3), ([0.02], 4), ([12.0], 1), ([1200.0, None], 0), ([1e-9], 5), ([], 3), ([0.0, float("nan")], 3)],
)
def test_a_column_gets_the_decimals_of_its_largest_number(values, decimals):
    assert decimals_for(values) == decimals


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "50%"), (0.9996, "99.9%"), (0.995, "99.5%"), (1.0, "100%"), (0.0, "0%"), (float("nan"), "n/a")]
)
def test_only_certainty_is_a_hundred_per_cent(value, text):
    assert percent(value) == text


def test_a_column_of_narrow_intervals_gets_more_decimals():
    assert decimals_for([0.12], [0.0008, 0.0009, 0.5]) == 4
    assert decimals_for([0.12], [0.05]) == 3
    assert decimals_for([0.12], [0.0, None]) == 3
    assert decimals_for([0.12], [1e-9]) == 5


def test_one_is_singular():
    assert (plural(1, "image"), plural(2, "image"), plural(0, "entry", "entries")) == ("1 image", "2 images", "0 entries")


@STEADY
@given(st.text())
def test_breakable_names_are_escaped_and_whole(name):
    marked = str(breakable(name))
    bare = marked.replace("<wbr>", "")
    assert "<" not in bare
    assert ">" not in bare
    assert html.unescape(bare) == html.unescape(html.escape(name))


def test_specs_break_after_brackets_and_before_capitals():
    assert breakable("SmoothGrad(sigma=1, samples=2)") == "Smooth<wbr>Grad(<wbr>sigma=1,<wbr> samples=2)"


def test_two_explanations_of_one_name_keep_their_parameters():
    assert plain_names(["Lime(samples=5)", "Lime(samples=9)", "Gradient()"]) == {
        "Lime(samples=5)": "Lime(samples=5)",
        "Lime(samples=9)": "Lime(samples=9)",
        "Gradient()": "Gradient",
    }


def test_measures_are_called_by_their_names_as_far_as_these_tell_them_apart():
    hit, noise = "AttackedSimilarity(attack=MapAttack(steps=4))", "AttackedSimilarity(attack=NoiseMapAttack)"
    found = measure_names(["Deletion(steps=9)", hit, noise])
    assert list(found.values()) == ["Deletion", "AttackedSimilarity, MapAttack", "AttackedSimilarity, NoiseMapAttack"]
    far = "AttackedSimilarity(attack=MapAttack(steps=8))"
    assert measure_names([hit, far, noise]) == {hit: hit, far: far, noise: "AttackedSimilarity, NoiseMapAttack"}
    assert measure_names(["Road(steps=1)", "Road(steps=2)"]) == {one: one for one in ("Road(steps=1)", "Road(steps=2)")}
