import math

import numpy as np
import pytest

from assay.stats.intervals import means
from assay.study.audit.statistics import BETTER, NEITHER, WORSE, summarise


def rng(seed=0):
    return np.random.default_rng(seed)


def summary(columns, **measures):
    """The summary of {explainer: values of images 0, 1, ...}, the floor last, each measure giving the same; a piece for each image."""
    values = np.stack([np.array(own, float) for own in columns.values()], 1)
    pieces = [np.repeat(row[None, :, None], len(measures), 2) for row in values]
    return summarise(lambda: pieces, list(columns)[:-1], {name: direction == "higher" for name, direction in measures.items()})


def verdicts(columns, direction="higher"):
    found = summary(columns, M=direction)
    return dict(zip(found["explainer"], found["verdict"], strict=True))


def test_missing_values_are_left_out_of_their_own_column_only():
    values = rng().normal(size=(30, 2))
    whole = means(values)
    values[::2, 1] = math.nan
    values[1, 1] = math.inf
    holed = means(values)
    assert holed[0] == whole[0]
    assert holed[1].mean == pytest.approx(values[3::2, 1].mean())


def test_columns_without_values_and_tables_without_rows_give_nan():
    nothing = means(np.array([[math.nan, 1.0], [math.nan, 2.0]]))[0]
    assert all(map(math.isnan, (nothing.mean, nothing.low, nothing.high)))
    assert math.isnan(means(np.empty((0, 1)))[0].mean)


def test_a_single_value_has_a_mean_but_no_interval_and_no_verdict():
    (own,) = means(np.array([[3.0]]))
    assert own.mean == 3
    assert math.isnan(own.low)
    assert verdicts({"A": [9.0], "floor": [1.0]}) == {"A": ""}


@pytest.mark.parametrize(("direction", "up", "down"), [("higher", BETTER, WORSE), ("lower", WORSE, BETTER)])
def test_verdicts_follow_the_direction(direction, up, down):
    floor = rng().normal(size=40)
    noise = rng(1).normal(size=40)
    columns = {"up": floor + 2 + noise, "down": floor - 2 + noise, "same": floor + noise - noise.mean(), "floor": floor}
    assert verdicts(columns, direction) == {"up": up, "down": down, "same": NEITHER}


def test_comparisons_are_paired_by_image():
    floor = np.linspace(0, 100, 40)
    columns = {"A": floor + 0.5 + 0.1 * rng().normal(size=40), "floor": floor}
    found = summary(columns, M="higher").row(0, named=True)
    assert found["low"] < found["floor_high"]
    assert found["verdict"] == BETTER


def test_equal_scores_are_no_better():
    assert verdicts({"A": [1.0, 2.0, 3.0], "floor": [1.0, 2.0, 3.0]}) == {"A": NEITHER}


def test_infinite_and_missing_scores_count_out_quietly():
    found = summary({"A": [math.inf, math.nan, 5, 6], "floor": [math.inf, 1, 2, 3]}, M="higher").row(0, named=True)
    assert (found["mean"], found["floor"], found["count"]) == (5.5, 2, 2)
    assert found["verdict"] == BETTER


def test_a_measure_without_any_score_has_no_verdict():
    assert verdicts({"A": [math.nan, math.nan], "floor": [1.0, 2.0]}) == {"A": ""}


def test_one_row_for_each_explainer_and_measure_and_none_for_the_floor():
    found = summary({"B": [1, 2], "A": [3, 4], "floor": [0, 1]}, second="higher", first="lower")
    assert found["explainer"].to_list() == ["B", "A", "B", "A"]
    assert found["measure"].to_list() == ["second", "second", "first", "first"]
    assert found["higher_is_better"].to_list() == [True, True, False, False]
    assert found["mean"].to_list() == [1.5, 3.5, 1.5, 3.5]
    assert set(found["floor"]) == {0.5}
