import numpy as np
import pytest
from scipy import stats

from assay.study.frontier.statistics import bend, outcome, resampled


def noise(seed=0):
    return np.random.default_rng(seed)


def test_resampled_means_are_of_one_draw_for_all_columns_and_spread_like_student_s_t():
    values = noise(4).normal(size=(12, 3))
    values[:, 2] = values[:, 0]
    drawn = resampled(values, 7)
    assert drawn[:, 2] == pytest.approx(drawn[:, 0])
    low, high = stats.t.interval(0.95, 11, values.mean(0), stats.sem(values))
    assert np.quantile(drawn, 0.975, 0) - np.quantile(drawn, 0.025, 0) == pytest.approx(high - low, rel=0.05)


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
