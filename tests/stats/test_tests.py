import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from assay.stats.tests import Above, holm, holm_levels, images_needed, not_worse


def rng(seed=0):
    return np.random.default_rng(seed)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_correction_is_the_definition(values):
    found = holm(values)
    order = np.argsort(values, kind="stable")
    slow, largest = {}, 0.0
    for rank, at in enumerate(order):
        largest = max(largest, (len(values) - rank) * values[at])
        slow[int(at)] = min(1.0, largest)
    assert found == pytest.approx([slow[at] for at in range(len(values))])


def test_holm_leaves_out_what_could_not_be_tested():
    assert holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8, unique=True))
def test_holms_levels_are_those_at_which_its_steps_are_taken(values):
    levels, corrected = holm_levels(values, 0.05), np.array(holm(values))
    order = np.argsort(values)
    assert levels[order] == pytest.approx(0.05 / np.arange(len(values), 0, -1))
    passed = corrected < 0.05
    assert (np.array(values)[passed] < levels[passed]).all()


def test_what_could_not_be_tested_does_not_count_among_the_levels():
    assert holm_levels([0.01, math.nan, 0.04])[[0, 2]] == pytest.approx([0.025, 0.05])


def test_the_best_are_those_not_shown_to_be_worse_than_the_top():
    base = rng(1).normal(size=(50, 1))
    values = base + np.array([[0.0, 1.0, 0.98, 0.4]]) + 0.1 * rng(2).normal(size=(50, 4))
    assert not_worse(values) == [1, 2]
    assert not_worse(values[:3]) == [0, 1, 2, 3]
    assert not_worse(np.full((4, 2), np.nan)) == []


def test_columns_that_differ_by_an_image_all_others_lack_are_compared_where_both_are():
    values = np.array([[1.0, 0.0], [1.1, 0.1], [np.nan, 9.0], [1.2, 0.0], [1.0, 0.1], [1.1, 0.2], [1.0, 0.0], [1.3, 0.1]])
    assert 0 in not_worse(values)


@pytest.mark.parametrize("effect", [0.3, 0.8, 2.0])
def test_so_many_images_reach_the_power_and_one_fewer_does_not(effect):
    level = 0.01
    many = images_needed(effect, level)

    def power(images):
        return stats.nct.sf(stats.t.isf(level, images - 1), images - 1, effect * math.sqrt(images))

    assert power(many) >= 0.8
    assert many == math.ceil(-math.log2(level)) or power(many - 1) < 0.8


def test_no_number_of_images_shows_what_is_not_there():
    assert images_needed(0.0) is None
    assert images_needed(-1.0) is None
    assert images_needed(math.nan) is None
    assert images_needed(math.inf, 0.01) == 7


@pytest.mark.parametrize("count", [12, 24, 48])
@pytest.mark.parametrize("skew", [0, 1, -1], ids=["normal", "skewed up", "skewed down"])
def test_a_mean_of_just_so_many_standard_deviations_is_seldom_said_to_be_below(skew, count):
    generator, effect, tries = np.random.default_rng(count), 0.2, 1000
    values = generator.normal(size=(tries, count)) if skew == 0 else skew * generator.lognormal(sigma=0.5, size=(tries, count))
    if skew:
        mean, spread = np.exp(0.125), np.sqrt((np.exp(0.25) - 1) * np.exp(0.25))
        values = (values - skew * mean) / spread
    p = np.array([Above.of(row + effect).short_of(effect).p for row in values])
    assert (p < 0.05).mean() <= 0.07
    assert Above.of(values[0] - 10).short_of(effect).p < 0.001


def test_equal_values_are_below_where_they_are_negative():
    assert Above.of(np.full(20, -1.0)).short_of(0.2).p < 0.001
    assert Above.of(np.full(20, 1.0)).short_of(0.2).p == 1
