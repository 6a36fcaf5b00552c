import re
from html.parser import HTMLParser

import pytest

from assay.errors import DataError
from assay.report.page import Sentence
from assay.report.study_page import Picture, Section, StudyPage, TextTable, render_study, write_study


class Document(HTMLParser):
    """Tags with their attributes, and all text but the style's; tags must be closed in order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "wbr", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


GRID = TextTable("Overlap.", "A note.", ("map", "IoU"), (("<b>Gradient</b>", "0.25"), ("mask", "0.70")), (False, True))


@pytest.fixture
def page():
    return StudyPage(
        title="A study <of> masks",
        lead="What was asked.",
        facts={"Data": "hard-digits"},
        verdict=(Sentence("good", "All is well & fine."),),
        rules="Rules.",
        sections=(
            Section("Numbers", "Some text.", (GRID,), (Picture("A plot", b"<svg/>", "svg"), Picture("Pictures", b"\x89PNG", "png"))),
        ),
        settings={"seed": "0"},
        record={"code": {"assay": "1"}},
    )


def test_the_page_is_sound_html_with_its_parts_in_order(page):
    document = Document(render_study(page))
    assert len(document.named("h1")) == 1
    text = document.text
    order = [
        "A study <of> masks",
        "hard-digits",
        "What was asked.",
        "All is well & fine.",
        "Rules.",
        "Numbers",
        "Overlap.",
        "0.70",
        "A plot",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "Hardware specification" in text


def test_texts_are_escaped_and_nothing_is_loaded(page):
    html = render_study(page)
    assert "<b>Gradient</b>" not in html
    assert "http://" not in re.sub(r'xmlns="[^"]*"', "", html)
    sources = [image["src"] for image in Document(html).named("img")]
    assert sources == ["data:image/svg+xml;base64,PHN2Zy8+", "data:image/png;base64,iVBORw=="]
    assert "<script" not in html


def test_a_page_without_a_verdict_says_so(page):
    empty = StudyPage(**{**vars(page), "verdict": (), "sections": ()})
    assert "came to no verdict" in render_study(empty)


def test_the_file_is_whole_or_not_there(page, tmp_path):
    assert write_study(page, tmp_path / "deep" / "report.html").read_text() == render_study(page)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the report"):
        write_study(page, tmp_path / "file" / "report.html")
