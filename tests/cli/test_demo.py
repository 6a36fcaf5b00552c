import pytest

import assay
from reference.studies import tiny

PARTS = {"train": "train", "tune": "val", "test": "test"}


@pytest.fixture
def brief(monkeypatch):
    """The demo with one quick explainer and measure, since its defaults are those of the audit and take seconds an image."""
    monkeypatch.setattr("assay.study.audit.study.MEASURES", (assay.Deletion(steps=2), assay.MaskIoU()))
    monkeypatch.setattr("assay.study.audit.study.EXPLAINERS", (assay.Gradient(),))
    monkeypatch.setattr("assay.papers.diet.study._drawings", lambda *_: ())
    few = {"model": "hard-digits", "methods": {"DiET": ["DiET(rounds=1, mask_stop=Epochs(1), model_stop=Epochs(1))"]}, "tune_images": 8}
    few |= {"seeds": 1, "counted_images": 8}
    size = {"variants": {"hard-digits": {name: f"HardDigits(split='{part}', count=8)" for name, part in PARTS.items()}}}
    monkeypatch.setattr("assay.papers.diet.presets.demo_settings", lambda seed: tiny(seed=seed, scored_images=2, gallery=1, **few, **size))


def test_the_demo_needs_nothing_and_may_be_repeated(brief, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    for _ in range(2):
        found = run("demo", "--count", 2)
        assert found.code == 0, found.err
    assert "report: assay-demo/report.html" in found.out
    assert "MaskIoU" in found.out
    assert "report: assay-demo/diet/report.html" in found.out
    assert 'href="diet/report.html"' in (tmp_path / "assay-demo" / "report.html").read_text()
    assert (tmp_path / "assay-demo" / "diet" / "report.html").exists()
    assert "Hard Digits" in (tmp_path / "assay-demo" / "report.html").read_text().replace("hard-digits", "Hard Digits")


def test_a_demo_that_cannot_write_says_so_before_the_work(run, tmp_path):
    (tmp_path / "file").write_text("")
    found = run("demo", "--count", 2, "--out", tmp_path / "file")
    assert (found.code, len(found.lines)) == (2, 1)
    assert "cannot make the folder" in found.lines[0]


def test_a_demo_of_more_images_than_there_are_is_refused(run, tmp_path):
    found = run("demo", "--count", 10**6, "--out", tmp_path / "out")
    assert (found.code, len(found.lines)) == (2, 1)
    assert "--count 1000000 asks for more images" in found.lines[0]
    assert not (tmp_path / "out").exists()
