import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from assay.study.frontier_statistics import bend, holm, outcome, resampled, trend
from assay.study.statistics import bootstrap


def noise(seed=0):
    return np.random.default_rng(seed)


def test_a_trend_is_called_where_there_is_one_and_has_its_sign():
    values = noise().normal(size=(60, 5)) + 0.4 * np.arange(5)
    up, down = trend(values), trend(-values)
    assert up.p < 1e-4
    assert up.rank_correlation > 0.3
    assert down.rank_correlation == pytest.approx(-up.rank_correlation)
    assert down.p == pytest.approx(up.p)


def test_the_rank_correlation_and_the_test_are_scipys_for_values_without_ties():
    values = noise(1).normal(size=(40, 6))
    own = [stats.spearmanr(row, np.arange(6)).statistic for row in values]
    found = trend(values)
    assert found.rank_correlation == pytest.approx(np.mean(own))
    assert found.page_p == pytest.approx(2 * min(stats.page_trend_test(one).pvalue for one in (values, -values)))
    assert found.p == pytest.approx(max(found.page_p, stats.ttest_1samp(own, 0).pvalue))


def test_false_alarms_stay_at_the_level_where_pages_test_alone_raises_too_many():
    generator = noise(2)
    found = [trend(generator.normal(size=(30, 5)).cumsum(1)) for _ in range(400)]
    assert np.mean([one.p < 0.05 for one in found]) <= 0.08
    assert np.mean([one.page_p < 0.05 for one in found]) > 0.15


def test_false_alarms_stay_at_the_level_for_independent_values():
    generator = noise(3)
    assert np.mean([trend(generator.normal(size=(20, 4))).p < 0.05 for _ in range(400)]) <= 0.08


def test_ties_and_rounding_are_no_trend():
    flat = np.repeat(noise().random((20, 1)) + 1, 4, axis=1)
    assert trend(flat).p == 1
    assert trend(flat).rank_correlation == 0
    assert trend(flat * (1 + 1e-8 * np.arange(4))).rank_correlation == 0
    assert trend(np.zeros((5, 4))).p == 1


def test_one_image_with_large_values_makes_no_ties_of_the_others():
    values = noise().normal(size=(40, 4)) + np.arange(4)
    huge = np.vstack([values, 1e9 * np.ones((1, 4))])
    assert trend(huge).p < 1e-4
    assert trend(huge).rank_correlation == pytest.approx(trend(values).rank_correlation * 40 / 41)


def test_images_with_gaps_are_left_out_and_one_image_is_no_test():
    values = noise().normal(size=(12, 4))
    gaps = np.concatenate([values, np.full((3, 4), np.nan)])
    assert trend(gaps) == trend(values)
    assert np.isnan(trend(values[:1]).p)


def test_two_widths_are_compared_by_the_sign_test():
    values = np.array([[0.0, 1.0]] * 8 + [[1.0, 0.0]] * 2 + [[1.0, 1.0]])
    assert trend(values).page_p == pytest.approx(stats.binomtest(8, 10).pvalue)


def test_a_trend_of_every_image_alike_is_called():
    assert trend(np.tile(np.arange(4.0), (10, 1))).p < 1e-4


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


def test_resampled_means_give_the_intervals_of_the_bootstrap():
    values = noise(4).normal(size=(50, 3))
    values[3, 1] = np.nan
    drawn = resampled(values, 7)
    for column, interval in enumerate(bootstrap(values, 7)):
        assert np.quantile(drawn[:, column], [0.025, 0.975]) == pytest.approx([interval.low, interval.high])


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.2, "gains"),
        (-0.3, -0.01, "costs"),
        (-0.02, 0.1, "free"),
        (-0.3, 0.1, "undecided"),
        (-1e-6, 1e-6, "free"),
        (-2e-6, -1e-6, "free"),
    ],
)
def test_an_interval_is_put_into_a_word(low, high, word):
    assert outcome(low, high, 1.0) == word


def test_nothing_that_becomes_nothing_is_free():
    assert outcome(0.0, 0.0, 0.0) == "free"


def curve(robust, faithful, spread=0.01, images=40):
    generator = noise(5)
    return tuple(np.asarray(one) + spread * generator.normal(size=(images, len(one))) for one in (robust, faithful))


def test_the_knee_is_the_width_furthest_above_the_chord():
    found = bend(*curve([0, 0.6, 0.9, 0.97, 1], [1, 0.98, 0.9, 0.4, 0]), seed=0)
    assert found.place == 2
    assert found.height == pytest.approx(0.8, abs=0.02)
    assert found.support > 0.95


def test_a_gain_on_the_way_lies_above_the_chord_too():
    assert bend(*curve([0, 0.4, 0.8, 1], [0.8, 1.0, 0.5, 0]), seed=0).place == 1


@pytest.mark.parametrize(
    ("robust", "faithful"),
    [
        ([0, 0.1, 0.5, 1], [1, 0.5, 0.1, 0]),
        ([0, 0.33, 0.66, 1], [1, 0.67, 0.34, 0]),
        ([0, 0.6, 0.9, 1], [0, 0.1, 0.2, 0.3]),
        ([1, 0.6, 0.3, 0.2], [1, 0.9, 0.5, 0]),
        ([0, 1], [1, 0]),
    ],
    ids=["convex", "straight", "no cost", "no gain", "two widths"],
)
def test_there_is_no_knee_where_nothing_bends(robust, faithful):
    assert bend(*curve(robust, faithful, spread=0.05), seed=0) is None


def test_a_knee_within_the_noise_is_none():
    robust, faithful = curve([0, 0.5, 1], [1, 0.55, 0], spread=2.0, images=10)
    assert bend(robust, faithful, seed=0) is None
