import math

import numpy as np
import pytest
from scipy import stats

from assay.stats.intervals import Moments, means, ratio, share


def rng(seed=0):
    return np.random.default_rng(seed)


DRAWS = {
    "normal": (lambda size: rng(1).normal(size=size), 0.0),
    "log-normal": (lambda size: rng(2).lognormal(size=size), math.exp(0.5)),
    "minus log-normal": (lambda size: -rng(3).lognormal(size=size), -math.exp(0.5)),
    "exponential": (lambda size: rng(4).exponential(size=size), 1.0),
}


@pytest.mark.parametrize("images", [12, 24, 48])
@pytest.mark.parametrize("kind", DRAWS)
def test_at_least_93_percent_of_95_percent_intervals_cover(kind, images):
    draw, mean = DRAWS[kind]
    low, high = Moments.of(draw((images, 6000))).interval()
    assert 0.93 <= np.mean((low <= mean) & (mean <= high)) <= 0.98


@pytest.mark.parametrize("kind", ["normal", "log-normal"])
def test_a_corrected_interval_covers_more_often_still(kind):
    draw, mean = DRAWS[kind]
    low, high = Moments.of(draw((24, 6000))).interval(0.005)
    assert np.mean((low <= mean) & (mean <= high)) >= 0.98


def test_without_skewness_the_interval_is_student_s():
    half = rng().normal(size=10)
    values = np.concatenate([half, -half]) + 3
    found = means(values[:, None])[0]
    low, high = stats.t.interval(0.95, 19, values.mean(), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((3, low, high))
    assert Moments.of(values[:, None]).above(2.7)[0] == pytest.approx(stats.ttest_1samp(values, 2.7, alternative="greater").pvalue)


def test_moments_are_those_of_scipy():
    values = rng().exponential(size=(17, 2))
    found = Moments.of(values)
    assert found.mean == pytest.approx(values.mean(0))
    assert found.spread == pytest.approx(values.std(0, ddof=1))
    assert found.skew == pytest.approx(stats.skew(values, bias=False))


def test_cutting_the_rows_into_pieces_changes_nothing():
    values = rng().exponential(size=(30, 2))
    values[3, 1] = math.nan
    cut = Moments.of_pieces(lambda: iter([values[:1], values[1:20], values[20:]]), 2)
    for name in ("count", "mean", "spread", "skew"):
        assert getattr(cut, name) == pytest.approx(getattr(Moments.of(values), name))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_intervals_move_with_the_unit(scale):
    values = rng().exponential(size=(20, 1))
    one, other = means(values)[0], means(scale * values)[0]
    assert (other.mean, other.low, other.high) == pytest.approx((scale * one.mean, scale * one.low, scale * one.high))


def test_the_p_value_is_below_the_level_where_the_interval_lies_above():
    values = rng(5).exponential(size=(20, 300)) - 0.6
    found = Moments.of(values)
    low, _ = found.interval(0.05)
    assert ((found.above() < 0.025) <= (low > 0)).all()
    assert np.mean((found.above() < 0.025) == (low > 0)) > 0.99


def test_p_values_go_on_falling_where_values_are_skewed_to_the_left():
    """The cubic that takes skewness out is flat there; p is never further from Student's than the interval is."""
    values = 1.5 - rng(1).gamma(2.0, 0.5, size=(40, 1))
    found = Moments.of(np.concatenate([values + shift for shift in (0.0, 0.3, 0.7)], 1))
    p = found.above()
    assert found.skew[0] < -0.5
    assert p[0] > p[1] > p[2]
    for level in (1e-2, 1e-3, 1e-4):
        assert ((p < level / 2) == (found.interval(level)[0] > 0)).all()


def test_false_alarms_stay_at_the_level():
    assert np.mean(Moments.of(rng(6).normal(size=(16, 5000))).above() < 0.05) <= 0.055


def test_a_few_values_are_never_more_certain_than_their_signs():
    assert Moments.of(np.array([[1.0, 1.1], [1.0, 1.2], [1.0, 1.15]])).above() == pytest.approx([0.125, 0.125])
    assert Moments.of(np.zeros((9, 1))).above()[0] == 1
    assert Moments.of(np.full((9, 1), -0.3)).above()[0] == 1


def test_rounding_is_no_spread():
    found = Moments.of(np.full((5, 1), 0.1) + np.array([[0], [1e-17], [0], [0], [1e-17]]))
    assert found.spread[0] == 0
    assert found.interval()[0][0] == pytest.approx(0.1)


def test_of_one_value_and_of_none_there_is_no_interval_and_no_test():
    found = means(np.array([[1.0, math.nan]]))
    assert found[0].mean == 1
    assert all(map(math.isnan, (found[0].low, found[0].high, found[1].mean)))
    assert np.isnan(Moments.of(np.array([[1.0]])).above()[0])


def test_a_share_has_wilson_s_interval():
    found = share(97, 100)
    z = stats.norm.isf(0.025)
    centre = (0.97 + z * z / 200) / (1 + z * z / 100)
    half = z / (1 + z * z / 100) * math.sqrt(0.97 * 0.03 / 100 + z * z / 40000)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half))
    assert math.isnan(share(0, 0).low)


def test_a_ratio_of_means_is_covered_as_often_as_its_interval_says():
    draw, hits, many = rng(5), 0, 600
    for _ in range(many):
        below = draw.normal(2.0, 0.5, 40)
        found = ratio(0.5 * below + draw.normal(0.0, 0.3, 40), below)
        hits += found.low <= 0.5 <= found.high
    assert 0.93 <= hits / many <= 0.975


def test_a_ratio_leaves_out_broken_pairs_and_is_nan_without_any():
    found = ratio([1.0, 2.0, math.nan, 5.0], [2.0, 4.0, 1.0, math.inf])
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
    assert math.isnan(ratio([math.nan], [1.0]).mean)
    assert math.isnan(ratio([1.0], [0.0]).mean)


def test_an_interval_that_is_to_cover_always_is_everything_and_its_ends_are_in_order():
    low, high = Moments.of(np.array([[1.0], [2.0], [4.0]])).interval(0.0)
    assert low == -np.inf
    assert high == np.inf
