import math

from assay.stats.dominance import dominated


def test_what_is_worse_in_something_and_better_in_nothing_loses():
    goods = {"A": (0.9, 0.5, -10.0), "B": (0.8, 0.5, -10.0), "C": (0.7, 0.9, -100.0), "D": (0.9, 0.4, -1.0)}
    assert dominated(goods) == {"B": "A"}


def test_equals_do_not_lose_to_each_other():
    assert dominated({"A": (1.0, 1.0), "B": (1.0, 1.0)}) == {}


def test_the_winner_that_is_told_is_the_best_in_the_first():
    assert dominated({"A": (1.0, 3.0), "B": (2.0, 2.0), "C": (0.5, 1.0)})["C"] == "B"


def test_what_is_known_of_one_alone_decides_nothing():
    assert dominated({"A": (1.0, math.nan), "B": (0.5, 0.1)}) == {}
    assert dominated({"A": (1.0, math.nan), "B": (0.5, math.nan)}) == {"B": "A"}
