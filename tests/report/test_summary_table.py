"""The summary as a table."""

from __future__ import annotations

from assay.report.summary import Summary
from assay.report.summary_table import summary_table


def test_measures_of_one_category_stand_together(summary_of, notes):
    summary = summary_of(("A", "Insertion", 0.7), ("A", "MaxSensitivity", 0.1), ("A", "Deletion", 0.2))
    table = summary_table(Summary(summary, notes))
    assert [column.measure for column in table.columns] == ["Insertion", "Deletion", "MaxSensitivity"]
    assert table.categories == (("faithfulness", 2), ("robustness", 1))


def test_cell_tells_mean_interval_floor_and_cue(summary_of, notes):
    cell = summary_table(Summary(summary_of(("A", "Insertion", 0.7)), notes)).rows[0].cells[0]
    assert (cell.mean, cell.interval, cell.floor, cell.cue) == ("0.700", "0.650 to 0.750", "0.500", "better")
    assert cell.hint == (
        "A by Insertion: mean 0.700 (0.650 to 0.750) over 20 images; a random map scores 0.500 (0.490 to 0.510): better than random"
    )


def best(table):
    return [row.explainer for row in table.rows if row.cells[0].best]


def test_those_are_marked_that_are_named_as_best_for_the_measure(summary_of, notes):
    summary = summary_of(("A", "Insertion", 0.7), ("B", "Insertion", 0.8), ("C", "Insertion", 0.79))
    assert best(summary_table(Summary(summary, notes, {"Insertion": ("B", "C"), "Deletion": ("A",)}))) == ["B", "C"]
    assert best(summary_table(Summary(summary, notes))) == []


def test_nothing_is_best_that_does_not_beat_random(summary_of, notes, line_of):
    summary = summary_of(line_of("A", "Insertion", 0.9, won=0), line_of("B", "Insertion", 0.6), line_of("C", "Insertion", 0.4, won=-1))
    assert best(summary_table(Summary(summary, notes, {"Insertion": ("A", "B")}))) == ["B"]


def test_a_missing_mean_has_no_cue_whatever_its_verdict(summary_of, notes, line_of):
    row = summary_table(Summary(summary_of(line_of("A", "Insertion", float("nan"), won=0)), notes)).rows[0]
    assert (row.cells[0].cue, row.judged) == ("none", 0)
    assert row.cells[0].hint.endswith("not judged")


def test_missing_scores_are_neither_counted_nor_best(summary_of, notes, line_of):
    nan = line_of("A", "Insertion", float("nan"), low=None, high=None, verdict=None)
    table = summary_table(Summary(summary_of(nan, line_of("A", "Deletion", 0.2, higher=False), line_of("B", "Insertion", 0.6)), notes))
    first, second = table.rows
    assert (first.cells[0].mean, first.cells[0].interval, first.cells[0].cue) == ("n/a", "interval n/a", "none")
    assert (first.wins, first.judged) == (1, 1)
    assert second.cells[1] is None
    assert (second.wins, second.judged) == (1, 1)
