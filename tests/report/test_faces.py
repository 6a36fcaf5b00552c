import html.parser
import sys

import pytest
import torch

import assay
from assay.core.display import needed_library
from assay.data import Batch
from assay.data.base import Corrupt
from reference.nets import plain

HOSTILE = "<script>alert(1)</script>.png"


class Reader(html.parser.HTMLParser):
    """The tags, texts and pictures of a fragment; tags must close as they were opened."""

    def __init__(self, text):
        super().__init__()
        self.opened, self.tags, self.texts, self.pictures = [], [], [], []
        self.feed(text)
        assert self.opened == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attributes))
        else:
            self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    return assay.Classifier(plain())


@pytest.fixture(scope="module")
def results(model, images):
    attack = assay.MapAttack(eps=4 / 255, steps=2)(model, assay.Gradient(), images)
    certificate = assay.certify(
        assay.Classifier(plain(), output="probability"), images, assay.SmoothGrad(sigma=0.5, samples=20), eps=(0.1, 0.2)
    )
    batch = Batch(
        images, torch.tensor([0, 1, 2]), None, None, torch.arange(3), ("a.png", HOSTILE, "c.png"), (Corrupt("d.png", "cut short"),)
    )
    tuned = assay.DiET(upsample=4, rounds=1, batch_size=3)(plain(), images)
    return {"attack": attack, "certificate": certificate, "batch": batch, "tuned": tuned}


@pytest.mark.parametrize("name", ["attack", "certificate", "batch", "tuned"])
def test_a_result_shows_itself_as_one_escaped_fragment_with_described_pictures(results, name):
    found = Reader(results[name]._repr_html_())
    assert not {"script", "html", "body", "link"} & set(found.tags)
    assert found.pictures
    assert all(one["src"].startswith("data:image/png;base64,") and one["alt"] for one in found.pictures)
    assert repr(results[name]) in "".join(found.texts).replace("\n", "")


@pytest.mark.parametrize("name", ["attack", "certificate", "batch", "tuned"])
def test_a_result_is_one_short_line_in_the_terminal(results, name):
    text = repr(results[name])
    assert len(text) < 330
    assert "tensor" not in text
    assert "\n" not in text


def test_what_the_line_says_is_what_was_found(results):
    attack = results["attack"]
    kept, mean = int(attack.kept.sum()), float(attack.distance.mean())
    assert repr(attack) == f"AttackResult(3 images: prediction kept on {kept}, mean distance {mean:.3g})"
    assert repr(results["batch"]) == "Batch(3 images of 3 x 8 x 8, with labels, 1 not read)"
    assert results["certificate"].sentence.removesuffix(".") in repr(results["certificate"])
    assert repr(results["tuned"]).startswith("Tuned(3 masks of 8 x 8, round 1 of 1 taken")


def test_a_batch_of_unreadable_files_names_them(results):
    empty = Batch(torch.zeros(0, 3, 8, 8), None, None, None, torch.zeros(0, dtype=torch.long), (), (Corrupt("d.png", "cut short"),))
    found = Reader(empty._repr_html_())
    assert "d.png: cut short" in "".join(found.texts)
    assert not found.pictures


def test_a_library_that_is_missing_is_named_with_the_way_to_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(assay.AssayError, match="xarray is not installed; get it by pip install xarray"):
        needed_library("xarray")
