import numpy as np
import pytest
from scipy import stats

from assay.stats.trends import trend


def noise(seed=0):
    return np.random.default_rng(seed)


def test_a_trend_is_called_where_there_is_one_and_has_its_sign():
    values = noise().normal(size=(60, 5)) + 0.4 * np.arange(5)
    up, down = trend(values), trend(-values)
    assert up.images_p < 1e-4
    assert up.rank_correlation > 0.3
    assert down.rank_correlation == pytest.approx(-up.rank_correlation)
    assert (down.images_p, down.p) == pytest.approx((up.images_p, up.p))


def test_the_rank_correlation_and_the_test_are_scipys_for_values_without_ties():
    values = noise(1).normal(size=(40, 6))
    own = [stats.spearmanr(row, np.arange(6)).statistic for row in values]
    found = trend(values)
    assert found.rank_correlation == pytest.approx(np.mean(own))
    assert found.page_p == pytest.approx(2 * min(stats.page_trend_test(one).pvalue for one in (values, -values)))
    assert found.images_p == pytest.approx(max(found.page_p, stats.ttest_1samp(own, 0).pvalue))


def test_images_that_disagree_more_than_pages_test_sees_are_judged_by_a_two_sided_t_test():
    values = noise(4).normal(size=(20, 5)).cumsum(1) + 0.3 * np.arange(5)
    own = [stats.spearmanr(row, np.arange(5)).statistic for row in values]
    due = stats.ttest_1samp(own, 0).pvalue
    found = trend(values)
    assert found.page_p < 0.5 * due
    assert found.images_p == pytest.approx(due)


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
    assert trend(huge).images_p < 1e-4
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


@pytest.mark.parametrize("walk", [1.0, 3.0])
def test_images_that_all_move_together_are_no_independent_witnesses(walk):
    generator = noise(6)
    found = [trend(walk * generator.normal(size=(1, 5)).cumsum(1) + 0.3 * generator.normal(size=(16, 5))) for _ in range(300)]
    assert np.mean([one.p < 0.05 for one in found]) <= 0.085
    assert np.mean([one.images_p < 0.05 for one in found]) > 0.5


def test_a_steady_rise_of_all_images_is_a_trend_also_of_the_widths():
    steps = np.arange(6) + 0.05 * noise(7).normal(size=(1, 6)) + 0.05 * noise(8).normal(size=(12, 6))
    assert trend(steps).p < 1e-3
