import math

import pytest

from assay.report.figures.frontier_plot import PlotAxis, Point, WidthCurve, plot_trade_offs

WIDTHS = (0, 0.01, 0.1)


def line(name, start, model="standard"):
    points = [
        Point(f"{width:g}", (start + at, start + at - 0.1, start + at + 0.1), (at, at - 0.1, at + 0.1)) for at, width in enumerate(WIDTHS)
    ]
    return WidthCurve(f"{name}, {model}", name, model, tuple(points))


@pytest.fixture
def figure():
    lines = [line("Gradient", 0.0), line("Lime", 5.0), line("Lime", 9.0, "robust")]
    return plot_trade_offs(
        PlotAxis("robustness", True),
        {"Deletion": (PlotAxis("Deletion", False), lines), "Insertion": (PlotAxis("Insertion", True), lines)},
        "sigma",
    )


def test_the_upper_right_corner_is_the_better_one(figure):
    down, up = figure.axes[:2]
    assert down.yaxis_inverted()
    assert not up.yaxis_inverted()
    assert not down.xaxis_inverted()
    assert "reversed" in down.get_ylabel()


def test_every_point_with_room_is_labelled_by_its_width(figure):
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(label for label in labels if label in ("0", "0.01", "0.1")) == sorted(["0", "0.01", "0.1"] * 3)


def test_explainers_share_colours_and_models_share_dashes(figure):
    drawn = {one.get_label(): one for one in figure.axes[0].get_lines() if not one.get_label().startswith("_")}
    assert drawn["Lime, standard"].get_color() == drawn["Lime, robust"].get_color() != drawn["Gradient, standard"].get_color()
    assert drawn["Lime, standard"].get_linestyle() == drawn["Gradient, standard"].get_linestyle() != drawn["Lime, robust"].get_linestyle()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(drawn)


def test_points_in_one_place_get_one_label_each_side_and_what_is_unknown_none():
    known = Point("0.1", (0.5, math.nan, math.nan), (0.5, math.nan, math.nan))
    lost = Point("0.2", (math.nan,) * 3, (0.5, math.nan, math.nan))
    crowd = [WidthCurve(str(at), str(at), "one", (known, lost)) for at in range(20)]
    panel = plot_trade_offs(PlotAxis("robustness", True), {"Deletion": (PlotAxis("Deletion", True), crowd)}, "sigma").axes[0]
    labels = [text.get_text() for text in panel.texts]
    assert 1 <= labels.count("0.1") <= 4
    assert "0.2" not in labels
