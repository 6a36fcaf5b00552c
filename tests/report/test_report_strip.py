"""Interval strips and their axes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.report.evidence import Standings
from assay.report.figures.strip import axis_of, standing_strips, strips
from assay.report.summary import Summary

STEADY = settings(deadline=None, derandomize=True)

VALUES = st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=8)


@STEADY
@given(VALUES)
def test_axis_holds_all_values_in_their_order(values):
    axis = axis_of(values)
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert places[0] >= 2.9
    assert places[-1] <= 97.1


@STEADY
@given(VALUES)
def test_ticks_are_few_and_inside(values):
    ticks = axis_of(values).ticks
    assert len(ticks) <= 8
    assert all(2.5 <= place <= 97.5 for place, _ in ticks)


@STEADY
@given(st.floats(1e-6, 1e3), st.floats(60, 1e6))
def test_wide_positive_ranges_are_logarithmic(low, factor):
    axis = axis_of([low, low * factor])
    assert axis.logarithmic
    assert axis.place(low * factor**0.5) == pytest.approx(50, abs=0.02)


def test_ranges_with_zero_or_negatives_are_linear():
    assert not axis_of([0.0, 1.0, 1000.0]).logarithmic
    assert not axis_of([-1.0, 1000.0]).logarithmic


def test_wide_intervals_of_close_means_stay_linear():
    axis = axis_of([0.1, 0.4], [0.0003, 0.5])
    assert not axis.logarithmic
    assert (axis.low, axis.high) == (0.0003, 0.5)


def test_ticks_are_round_numbers():
    assert [text for _, text in axis_of([-0.13, 0.31]).ticks] == ["−0.1", "0", "0.1", "0.2", "0.3"]
    assert [text for _, text in axis_of([0.5, 200.0]).ticks] == ["1", "10", "100"]


def test_no_value_gives_an_axis_without_ticks():
    assert axis_of([]).ticks == ()


def test_one_value_stands_in_the_middle():
    assert axis_of([0.4, 0.4]).place(0.4) == 50


def test_mark_has_its_interval_around_the_dot_and_the_floor_in_its_band(summary_of, notes):
    mark = strips(Summary(summary_of(("A", "Insertion", 0.7), ("B", "Insertion", 0.4)), notes))[0].marks[0]
    assert mark.interval[0] < mark.dot < mark.interval[1]
    assert mark.band[0] < mark.floor < mark.band[1] < mark.interval[0]


def test_missing_values_leave_no_mark(summary_of, notes, line_of):
    summary = summary_of(line_of("A", "Insertion", float("nan"), low=None, high=None, verdict=None), line_of("B", "Insertion", 0.6))
    mark = strips(Summary(summary, notes))[0].marks[0]
    assert (mark.dot, mark.interval, mark.cue) == (None, None, "none")
    assert mark.floor is not None


NAN = float("nan")


def test_standings_share_one_axis_on_which_null_and_control_are_marked():
    part = Standings({"Deletion": {"A": (0.5, 0.25, 0.75), "B": (0.0, -0.1, 0.1)}, "Insertion": {"A": (1.0, 0.9, 1.1)}}, ("A",))
    first, second = standing_strips(part)
    assert first.axis == second.axis
    (null, _), (control, _) = first.axis.ticks
    assert [text for _, text in first.axis.ticks] == ["null", "control"]
    a, b = first.marks
    assert (b.dot, second.marks[0].dot) == (null, control)
    assert a.dot == pytest.approx((null + control) / 2, abs=0.01)
    assert (a.cue, b.cue) == ("better", "same")
    assert (a.figure, a.words) == ("0.50", "trusted, 0.50 (0.25 to 0.75)")


def test_a_standing_far_outside_stands_at_the_end_and_is_told_in_figures_and_an_unknown_one_is_said():
    (strip,) = standing_strips(Standings({"Deletion": {"A": (9.0, 8.0, 10.0), "B": (NAN, NAN, NAN)}}, ()))
    far, lost = strip.marks
    assert far.dot == strip.axis.place(strip.axis.high)
    assert far.figure == "9.00 →"
    assert (lost.dot, lost.figure, lost.words) == (None, "n/a", "not known")
