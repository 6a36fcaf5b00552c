"""The page as HTML: structure, safety, self-containment, and the file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import polars as pl
import pytest
import torch

from assay.errors import DataError
from assay.report import MeasureNote, Picture, ScreenCard, Section, Sentence, TextTable, render, write
from assay.report.summary import Summary

VOID = {"meta", "img", "input", "br", "wbr", "link", "hr"}


class Document(HTMLParser):
    """Collects tags with their attributes and texts, and checks that tags are nested properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if name in (attributes.get("class") or "").split()]


def test_page_has_its_sections_in_order(page):
    document = Document(render(page))
    ids = [attributes.get("id") for attributes in document.named("section")]
    assert ids == ["verdict", "scores", "intervals", "gallery", "measures", "problems", "record"]
    assert len(document.named("h1")) == 1


def test_ids_are_unique_and_references_lead_somewhere(page):
    document = Document(render(page))
    ids = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"] for _, attributes in document.tags if "href" in attributes}
    assert all(target[0] == "#" and target[1:] in ids for target in targets)


def test_nothing_is_loaded_from_anywhere(page, change):
    hostile = change(page, facts={"Model": "https://example.com/x.png", "Images": "//example.com"}, settings={"url": "http://example.com"})
    document = Document(render(hostile))
    loads = [
        value for _, attributes in document.tags for key, value in attributes.items() if key in ("src", "href", "srcset", "data", "action")
    ]
    assert loads
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in loads)
    assert document.named("script") == [{}]
    assert not document.named("link") + document.named("iframe")
    style = render(page).split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(meta["content"] for meta in document.named("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    script = render(page).split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert len(script) < 25_000
    assert not any(word in script for word in ("fetch(", "XMLHttpRequest", "innerHTML", "eval(", "http"))


ATTACK = """</style><script>alert("x")</script><img src=x onerror='alert(1)'>{{ 7 * 7 }}"""


def test_untrusted_texts_are_escaped_everywhere(page_of, summary, gallery, change):
    maps = {ATTACK: gallery.maps["Lime"]}
    gallery = change(
        gallery,
        names=(ATTACK, "b"),
        why=(ATTACK, ""),
        labels=(ATTACK, ""),
        predictions=("x", ATTACK),
        maps=maps,
        scores={ATTACK: {ATTACK: (0.5, 0.5)}},
    )
    summary = change(
        summary,
        frame=summary.frame.head(1).with_columns(explainer=pl.lit(ATTACK), measure=pl.lit(ATTACK)),
        notes={ATTACK: MeasureNote(ATTACK, ATTACK, ATTACK, ATTACK)},
    )
    hostile = page_of(
        summary,
        gallery,
        title=ATTACK,
        kind=ATTACK,
        facts={ATTACK: ATTACK},
        lead=ATTACK,
        rules=ATTACK,
        verdict=(Sentence("note", ATTACK),),
        settings={ATTACK: ATTACK},
        record={ATTACK: {ATTACK: [ATTACK]}},
        problems=((ATTACK, ATTACK),),
        cards=(ScreenCard(ATTACK, "bad", ATTACK, (ATTACK,)),),
    )
    text = render(hostile)
    document = Document(text)
    assert document.named("script") == [{}]
    assert not [attributes for _, attributes in document.tags if "onerror" in attributes]
    assert text.count("<style>") == text.count("</style>") == 1
    assert '<script>alert("x")' in document.text


def test_verdict_says_its_tone_in_words(page):
    document = Document(render(page))
    assert "Good Gradient beats a random map by Insertion. Bad Lime does not." in document.text


def test_empty_verdict_is_said(page, change):
    assert "This run came to no verdict." in Document(render(change(page, verdict=()))).text


def test_the_first_screen_stands_before_the_verdict(page, change):
    cards = (ScreenCard("Which one?", "good", "Use Gradient.", ("Lime: not shown",)), ScreenCard("What not?", "note", "Much.", ()))
    text = Document(render(change(page, cards=cards))).text
    places = [text.index(one) for one in ("Which one?", "Use Gradient.", "Lime: not shown", "What not?", "The verdict in full")]
    assert places == sorted(places)


def test_images_bring_what_the_script_sorts_and_filters_by(page_of, summary, gallery, change):
    why = change(gallery, why=("wrong prediction", "typical"))
    first, second = Document(render(page_of(summary, why))).named("article")[:2]
    assert (first["data-why"], first["data-correct"], first["data-name"]) == ("wrong prediction", "no", "first.png")
    assert json.loads(first["data-scores"]) == {"Gradient, Insertion": 0.25}
    assert json.loads(second["data-scores"]) == {"Gradient, Insertion": None}
    assert second["data-correct"] == ""


def test_every_cue_is_also_a_word(page):
    document = Document(render(page))
    table = document.text.split("Beats random in")[1].split("The same scores")[0]
    for words in ("better than random", "worse than random", "not shown to be better than random", "not judged"):
        assert words in table


def test_nan_is_shown_as_not_available(page):
    text = Document(render(page)).text
    assert "n/a" in text
    assert not re.search(r"\b(nan|none|inf)\b", text.split("How to repeat this")[0], re.IGNORECASE)


def test_directions_are_in_the_header(page):
    text = Document(render(page)).text
    assert "↑ higher is better" in text
    assert "↓ lower is better" in text


def test_outlines_and_their_key_come_with_masks_only(page, page_of, summary, gallery, change):
    assert "ground truth" in Document(render(page)).text
    document = Document(render(page_of(summary, change(gallery, truth=None, distractor=None))))
    assert "ground truth" not in document.text
    assert "distractor" not in document.text
    assert not document.of_class("outline")


def test_missing_labels_are_said(page):
    assert "label unknown" in Document(render(page)).text
    assert "wrong: labelled cat" in Document(render(page)).text


def test_sections_without_content_are_left_out(page, change):
    document = Document(render(change(page, problems=(), sections=(), settings={}, record={}, facts={}, lead="")))
    ids = [attributes.get("id") for attributes in document.named("section")]
    assert ids == ["verdict"]
    assert not document.named("nav") + document.named("script")


def test_problems_are_listed_by_name(page):
    assert "broken.png the file is cut short" in Document(render(page)).text


def test_missing_answers_are_admitted(page):
    text = Document(render(page)).text
    assert text.count("This run did not record it.") == 5
    assert "0–39" in text


def test_same_page_gives_same_text(page):
    assert render(page) == render(page)


@pytest.mark.parametrize(("explainers", "images"), [(1, 1), (16, 50)])
def test_small_and_large_pages_have_all_maps_and_stay_small(page_of, summary, gallery, change, explainers, images):
    noise = torch.Generator().manual_seed(0)
    names = [f"Explainer{i}(sigma=0.{i})" for i in range(explainers)]
    gallery = change(
        gallery,
        images=torch.rand(images, 3, 64, 64, generator=noise),
        names=tuple(f"{i}.png" for i in range(images)),
        labels=("",) * images,
        predictions=("a",) * images,
        probabilities=(0.5,) * images,
        maps={name: torch.randn(images, 1, 64, 64, generator=noise) for name in names},
        truth=None,
        distractor=None,
        scores={},
    )
    text = render(page_of(summary, gallery))
    assert len(Document(text).of_class("tile")) == explainers * images
    assert len(text) < 5_000_000


def test_written_file_is_the_rendered_page(page, tmp_path):
    path = write(page, tmp_path / "new" / "folder" / "report.html")
    assert path.read_text(encoding="utf-8") == render(page)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interruption_leaves_the_old_file_and_nothing_else(page, tmp_path, monkeypatch, error):
    path = tmp_path / "report.html"
    path.write_text("old")

    def stop(self, target):
        raise error

    monkeypatch.setattr("pathlib.Path.replace", stop)
    with pytest.raises(error):
        write(page, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_folder_in_place_of_a_file_is_refused(page, tmp_path):
    with pytest.raises(DataError, match="it is a folder"):
        write(page, tmp_path)


def test_place_that_cannot_be_made_is_named(page, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write the report to .*file"):
        write(page, tmp_path / "file" / "report.html")


def test_tables_and_figures_stand_in_their_section_and_need_no_script(page, change):
    grid = TextTable("Overlap.", "A note.", ("map", "IoU"), (("<b>Gradient</b>", "0.25"), ("mask", "0.70")), (False, True))
    pictures = (Picture("A plot", b"<svg/>", "svg"), Picture("Pictures", b"\x89PNG", "png"))
    html = render(change(page, rules="Rules.", sections=(Section("Numbers", "Some text.", (grid, *pictures)),)))
    document = Document(html)
    order = ["What was asked.", "Gradient beats", "Rules.", "Numbers", "Some text.", "Overlap.", "0.70", "A plot", "Hardware specification"]
    places = [document.text.index(part) for part in order]
    assert places == sorted(places)
    assert "<b>Gradient</b>" not in html
    assert [image["src"] for image in document.named("img")] == ["data:image/svg+xml;base64,PHN2Zy8+", "data:image/png;base64,iVBORw=="]
    assert "<script" not in html
    assert "script-src" not in html


def test_every_wide_table_is_in_a_region_that_scrolls_and_can_be_reached_by_keyboard(page):
    document = Document(render(page))
    regions = document.of_class("scroll")
    assert len(regions) == len(document.named("table")) > 0
    assert all(one["tabindex"] == "0" and one["role"] == "region" and one["aria-label"] for one in regions)


def test_an_explainer_is_called_by_its_name_with_its_spec_on_demand(page_of, notes, gallery, summary_of):
    spec = "SmoothGrad(sigma=0.1)"
    table = Summary(summary_of((spec, "Insertion", 0.7), ("Lime", "Insertion", 0.4)), notes)
    called = f'<span title="{spec}">Smooth<wbr>Grad</span>'
    assert called in render(page_of(table, gallery, explainers=(spec, "Lime")))
    assert called not in render(page_of(table, gallery, explainers=(spec, "Lime", "SmoothGrad(sigma=0.3)")))
    assert called not in render(page_of(table, gallery))


def test_a_chart_is_dark_where_the_page_is_and_one_with_photographs_is_not():
    chart = b'<svg><defs><style type="text/css">*{}</style></defs><g id="figure_1"></g></svg>'
    drawn, seen = (base64.b64decode(Picture("", one, "svg").uri.partition(",")[2]) for one in (chart, chart + b"<image/>"))
    assert b"prefers-color-scheme: dark" in drawn
    assert seen == chart + b"<image/>"
