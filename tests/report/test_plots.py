import math
from xml.etree import ElementTree

import pytest
from PIL import Image

from assay.report.figures.plots import Dot, DrawnCurve, curves, dots, sheet, to_bytes

DOTS = {
    "digits": [Dot("mask", 0.7, 0.6, 0.8, strong=True), Dot("Gradient", 0.3, math.nan, math.nan)],
    "x-rays": [Dot("mask", 0.9, 0.8, 1.0)],
}


def test_a_dot_plot_has_a_panel_for_each_group_and_a_line_for_each_interval():
    figure = dots(DOTS, "overlap", (0.0, 1.0))
    first, second = figure.axes
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["digits", "x-rays"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["mask", "Gradient"]
    assert len(first.get_lines()) == 3
    assert len(second.get_lines()) == 2
    assert first.get_xlim() == (0.0, 1.0)


def test_labels_that_all_panels_share_stand_once_beside_a_line_to_compare_with():
    first, second = dots(dict.fromkeys(("left", "right"), DOTS["digits"]), "difference", reference=0.0).axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["mask", "Gradient"]
    assert second.get_yticklabels() == []
    assert [list(panel.get_lines()[-1].get_xdata()) for panel in (first, second)] == [[0.0, 0.0]] * 2


def test_panels_stand_in_as_many_columns_as_asked_with_a_line_to_compare_with():
    figure = curves({str(number): [DrawnCurve("a", (1, 2), (0.1, 0.2))] for number in range(4)}, "width", columns=4, level=0.0)
    assert len({panel.get_position().y0 for panel in figure.axes}) == 1
    assert all([0.0, 0.0] in [list(line.get_ydata()) for line in panel.get_lines()] for panel in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a"]


def test_a_label_keeps_its_colour_in_all_panels():
    one, other = DrawnCurve("a", (1, 2), (0.1, 0.2)), DrawnCurve("b", (1, 2), (0.3, 0.4), (0.2, 0.3), (0.4, 0.5))
    first, second = curves({"left": [one, other], "right": [other]}, "round").axes
    colours = {line.get_label(): line.get_color() for line in first.get_lines()}
    assert colours["a"] != colours["b"]
    assert second.get_lines()[0].get_color() == colours["b"]
    assert [text.get_text() for text in first.figure.legends[0].get_texts()] == ["a", "b"]


def test_twenty_curves_can_be_told_apart():
    (panel,) = curves({"accuracy": [DrawnCurve(str(number), (1, 2), (0.1, 0.2)) for number in range(20)]}, "kept").axes
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in panel.get_lines()}) == 20


def test_more_than_three_panels_stand_in_two_rows():
    figure = curves({str(number): [DrawnCurve("a", (1, 2), (0.1, 0.2))] for number in range(5)}, "round")
    assert len(figure.axes) == 6
    assert not figure.axes[5].axison
    assert [panel.get_title(loc="left") for panel in figure.axes[:5]] == ["0", "1", "2", "3", "4"]


def test_ticks_are_those_that_are_asked_for_on_a_logarithmic_axis():
    (panel,) = curves({"accuracy": [DrawnCurve("a", (1, 10), (0.1, 0.9))]}, "kept, %", "log", [1, 2, 10]).axes
    assert panel.get_xscale() == "log"
    assert [text.get_text() for text in panel.get_xticklabels()] == ["1", "2", "10"]


def test_a_sheet_has_a_cell_for_each_picture():
    picture = Image.new("RGB", (4, 4))
    figure = sheet([[picture, picture], [picture, picture]], ["image", "mask"], ["3", "5"])
    assert len(figure.axes) == 4
    assert [cell.get_title() for cell in figure.axes[:2]] == ["image", "mask"]
    assert [figure.axes[place].get_ylabel() for place in (0, 2)] == ["3", "5"]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_same_figure_gives_the_same_bytes(form):
    first, second = (to_bytes(lambda: dots(DOTS, "overlap"), form) for _ in range(2))
    assert first == second
    if form == "svg":
        assert ElementTree.fromstring(first).tag.endswith("svg")
    else:
        assert first.startswith(b"\x89PNG")
