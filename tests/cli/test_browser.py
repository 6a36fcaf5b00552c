"""Every kind of report in headless Chromium, wide and narrow, light and dark; skipped where there is none."""

import pytest

import assay
from reference.chromium import FOUND, Chromium
from reference.studies import tiny

pytestmark = pytest.mark.skipif(FOUND is None, reason="needs Chromium")

MODEL = ("--model", "python:mynets:good", "--images", "pictures", "--block", 2, "--out", "out")
AUDIT = ("audit", "--images", "pictures", "--model", "python:mynets:good", "--explainer", "Gradient", "--measure", "Deletion(steps=3)")
DIGITS = ("--model", "hard-digits", "--images", "HardDigits(size=32, count=6)", "--out", "out")
DIET = "DiET(rounds=2, mask_lr=0.3, mask_stop=Epochs(2), model_stop=Epochs(1), precision='float32')"
LONG = "KernelShap(samples=20, segments=Grid(rows=3, columns=3))"
VOTES = "Smoothed(explainer=Sparsified(explainer=Gradient(), fraction=0.2), kernel=Gaussian(sigma=0.3), samples=10, antithetic=False)"
ATTACK = ("--steps", 2, "--explainer", "Gradient", "--explainer", LONG)
QUICK = ("--samples", 2, "--draws", 2, "--measure", "Deletion(steps=3)", "--measure", "LocalLinearError(samples=4)")
PARTS = {"train": "train", "tune": "val", "test": "test"}
COMMANDS = {
    "attack": [("attack", *MODEL, *ATTACK)],
    "frontier": [("frontier", *MODEL, *QUICK, "--steps", 2, "--sigma", 0, "--sigma", 0.1, "--explainer", "Gradient", "--explainer", LONG)],
    "certify": [("certify", *MODEL, "--smoothing", VOTES, "--eps", 0.01, "--eps", 0.1, "--attack", "none")],
    "tune": [("tune", *DIGITS, "--method", DIET)],
    "card": [(*AUDIT, "--out", "one"), ("run", "card", "one", "--format", "html", "--out", "out/report.html")],
    "compare": [(*AUDIT, "--out", "one"), (*AUDIT, "--seed", 1, "--out", "two"), ("compare", "one", "two", "--out", "out/report.html")],
    "models": [("compare", "python:mynets:good", "python:mynets:ready", *AUDIT[1:3], *AUDIT[5:], "--out", "out/report.html")],
}


@pytest.fixture(scope="module")
def browser():
    found = Chromium()
    yield found
    found.close()


def looked_at(browser, path):
    """The page is whole at every width and in both schemes."""
    for width in (1280, 400):
        for dark in (False, True):
            browser.open(f"file://{path}", width, dark)
            assert browser.errors == []
            assert browser.overflow() == 0, f"{path} is too wide at {width} px"
    assert browser.run("[...document.images].every(one => one.alt && one.naturalWidth > 0)")
    assert browser.run("document.querySelectorAll('table').length") == browser.run("document.querySelectorAll('.scroll table').length")


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_report_fits_its_window_and_nothing_fails(kind, place, run, browser):
    (place / "out").mkdir()
    for command in COMMANDS[kind]:
        found = run(*command)
        assert found.code == 0, found.err
    looked_at(browser, place / "out" / "report.html")


def test_the_demos_audit_and_study_fit_their_windows_and_nothing_fails(run, tmp_path, monkeypatch, browser):
    monkeypatch.setattr("assay.study.audit.study.MEASURES", (assay.Deletion(steps=2), assay.MaxSensitivity(samples=2), assay.MaskIoU()))
    monkeypatch.setattr("assay.study.audit.study.EXPLAINERS", (assay.Gradient(), assay.KernelShap(samples=20, segments=assay.Grid(3, 3))))
    few = {"model": "hard-digits", "methods": {"DiET": ["DiET(rounds=1, mask_stop=Epochs(1), model_stop=Epochs(1))"]}, "tune_images": 8}
    few |= {"seeds": 1, "counted_images": 8, "scored_images": 2, "gallery": 1}
    size = {"variants": {"hard-digits": {name: f"HardDigits(split='{part}', count=8)" for name, part in PARTS.items()}}}
    monkeypatch.setattr("assay.papers.diet.presets.demo_settings", lambda seed: tiny(seed=seed, **few, **size))
    found = run("demo", "--count", 12, "--out", tmp_path / "demo")
    assert found.code == 0, found.err
    looked_at(browser, tmp_path / "demo" / "report.html")
    looked_at(browser, tmp_path / "demo" / "diet" / "report.html")
