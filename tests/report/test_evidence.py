from html.parser import HTMLParser

import pytest

from assay.report import Page, Section, render
from assay.report.evidence import Agreement, TradeOff, TradeOffs
from assay.report.figures.scatter import scatter

NAN = float("nan")


class Texts(HTMLParser):
    """All texts but the style's."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.hidden = [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.hidden = tag == "style"

    def handle_data(self, data):
        if not self.hidden and data.strip():
            self.texts.append(data.strip())


def shown(part):
    html = render(Page("A title", "kind", {}, "", (), sections=(Section("Evidence", "", (part,)),)))
    return html, Texts(html).texts


@pytest.fixture
def trade():
    points = (("A", (0.1, 0.05, 0.2), (0.9, 0.8, 0.95)), ("B", (0.5, 0.4, 0.6), (0.3, 0.2, 0.4)), ("C", (NAN,) * 3, (0.5, 0.4, 0.6)))
    return TradeOffs((TradeOff(("MaxSensitivity", False), ("Insertion", True), points),), ("A",))


def test_the_better_corner_is_the_upper_right_whatever_way_the_measures_run(trade):
    names, (panel,) = scatter(trade)
    assert names == ("A", "B", "C")
    a, b = panel.marks
    assert a.x > b.x
    assert a.y < b.y
    assert (a.trusted, b.trusted) == (True, False)
    assert (panel.across, panel.up) == ("MaxSensitivity ↓", "Insertion ↑")
    lows = [place for place, _ in panel.x_ticks]
    assert lows == sorted(lows, reverse=True)


def test_an_interval_holds_its_point(trade):
    _, (panel,) = scatter(trade)
    for mark in panel.marks:
        assert min(mark.across) <= mark.x <= max(mark.across)
        assert min(mark.up) <= 100 - mark.y <= max(mark.up)


def test_what_has_no_point_is_named_and_every_explainer_has_its_number(trade):
    html, texts = shown(trade)
    assert "No point: C" in texts
    assert html.count('class="point') == 2
    assert [name for name in texts if name in "ABC"] == ["A", "B", "C"]


def test_agreement_is_shown_for_every_pair_both_ways_with_its_interval():
    part = Agreement(("A", "B", "C"), {("A", "B"): (0.5, 0.4, 0.6), ("A", "C"): (0.1, -0.05, 0.2), ("B", "C"): (0.2, NAN, NAN)}, 12)
    html, texts = shown(part)
    assert [texts.count(one) for one in ("50%", "10%", "20%", "–")] == [2, 2, 2, 3]
    assert "A and C: 10% (0% to 20%) of the top tenth in common" in html
    assert "B and C: 20% of the top tenth in common" in html
    assert "mean over 12 images" in html
