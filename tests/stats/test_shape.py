import math

import numpy as np
import pytest
from scipy import stats

from assay.stats.shape import inside, rank_correlation


def test_a_perfect_order_of_five_has_one_chance_in_120():
    assert rank_correlation([1, 2, 3, 4, 5], [2, 4, 6, 8, 9]) == pytest.approx((1.0, 1 / 120))
    assert rank_correlation([1, 2, 3, 4, 5], [9, 8, 6, 4, 2]) == pytest.approx((-1.0, 1.0))


def test_a_perfect_order_of_ten_is_told_no_rarer_than_the_orders_that_were_drawn():
    assert rank_correlation(range(10), range(10)) == pytest.approx((1.0, 1e-5))


@pytest.mark.parametrize("count", [4, 6, 12])
def test_the_correlation_is_scipys_and_its_p_value_that_of_a_permutation_test(count):
    random = np.random.default_rng(count)
    one, other = random.normal(size=(2, count)).round(1)
    rho, p = rank_correlation(one, other)
    assert rho == pytest.approx(stats.spearmanr(one, other).statistic)
    tested = stats.permutation_test(
        (one,),
        lambda x: stats.spearmanr(x, other).statistic,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=2000,
        random_state=0,
    )
    assert p == pytest.approx(tested.pvalue, abs=0.04)


def test_too_few_or_equal_values_have_no_correlation():
    assert all(math.isnan(one) for one in (*rank_correlation([1, 2], [1, 2]), *rank_correlation([1, 1, 1], [1, 2, 3])))


def rows(means, images=24, noise=0.3):
    return np.asarray(means) + noise * np.random.default_rng(0).normal(size=(images, len(means)))


def test_a_hump_is_found_inside_and_at_no_end():
    found = inside(rows([0.0, 1.0, 2.0, 0.5]))
    assert (found.best, found.place) == (2, 2)
    assert found.p < 1e-6
    assert found.against > 0.9


@pytest.mark.parametrize("means", [[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0], [3.0, 1.0, 1.0, 3.0]])
def test_curves_that_are_best_at_an_end_are_refuted(means):
    found = inside(rows(means))
    assert found.p > 0.9
    assert found.against < 0.01


def test_no_hump_is_found_in_noise_more_often_than_the_level_says():
    random = np.random.default_rng(1)
    found = [inside(random.normal(size=(20, 5))) for _ in range(400)]
    assert np.mean([one.p < 0.05 for one in found]) < 0.05
    assert np.mean([one.against < 0.05 for one in found]) < 0.05


def test_two_widths_have_nothing_inside():
    assert math.isnan(inside(np.ones((5, 2))).p)
