import json

import polars as pl
import pytest

GOOD = ("audit", "--model", "python:mynets:good", "--out", "out")
QUICK = ("--explainer", "Gradient", "--explainer", "Lime(samples=6, segments=Grid(rows=2, columns=2))", "--measure", "Deletion(steps=3)")
RESULTS = {"report.html", "scores.parquet", "summary.csv", "answers.csv", "status.csv", "verdict.json"}
FILES = RESULTS | {"environment.json", "run.toml", "log", "lock", "parts"}


def test_an_audit_of_a_folder_writes_its_report_and_says_where(place, run):
    found = run(*GOOD, *QUICK, "--images", "pictures", "--gallery", 2, "--seed", 3)
    assert found.code == 0, found.err
    assert {one.name for one in (place / "out").iterdir()} == FILES
    assert "report: out/report.html" in found.out
    assert all(text in found.out for text in ("Gradient", "Deletion ↓", "random map", "Only 3 images were scored"))
    kept = json.loads((place / "out" / "environment.json").read_text())
    assert kept["setup"]["seed"] == 3
    assert len(kept["data"]["sha256"]) == 64
    assert kept["data"]["images in all"] == 3
    assert pl.read_csv(place / "out" / "status.csv")["name"].to_list() == ["a.png", "b.png", "c.png"]


def test_an_audit_with_truth_uses_every_measure_that_is_named(place, run):
    found = run(*GOOD[:2], "hard-digits", "--out", "out", "--images", "HardDigits(size=32)", "--count", 2, *QUICK, "--measure", "MaskIoU")
    assert found.code == 0, found.err
    scores = pl.read_parquet(place / "out" / "scores.parquet")
    assert set(scores["measure"]) == {"Deletion", "MaskIoU"}
    assert scores["image"].n_unique() == 2


def test_the_same_command_gives_the_same_scores(place, run):
    for out in ("one", "two"):
        assert run("audit", "--model", "python:mynets:good", "--images", "pictures", "--out", out, *QUICK).code == 0
    assert pl.read_parquet(place / "one" / "scores.parquet").equals(pl.read_parquet(place / "two" / "scores.parquet"))


def test_weights_from_a_file_change_the_scores(place, run):
    assert run(*GOOD, *QUICK, "--images", "pictures").code == 0
    assert run(*GOOD[:-1], "other", *QUICK, "--images", "pictures", "--weights", "weights.pt").code == 0
    assert not pl.read_parquet(place / "out" / "scores.parquet").equals(pl.read_parquet(place / "other" / "scores.parquet"))


def test_a_corrupt_image_is_listed_and_the_others_are_audited(place, run):
    (place / "pictures" / "b.png").write_bytes(b"")
    found = run(*GOOD, *QUICK, "--images", "pictures")
    assert found.code == 0, found.err
    assert "1 image had problems" in found.out
    status = dict(pl.read_csv(place / "out" / "status.csv").select("name", "status").rows())
    bad = next(name for name in status if name.endswith("b.png"))
    assert status[bad] == "cannot be read: the file is empty"
    assert list(status.values()).count("ok") == 2
    assert "the file is empty" in (place / "out" / "report.html").read_text()


def test_labels_of_a_folder_count_only_where_the_model_has_such_classes(place, run):
    found = run(*GOOD, *QUICK, "--images", "classes")
    assert found.code == 0, found.err
    assert "unknown: the labels" in (place / "out" / "report.html").read_text().replace("&#39;", "'")


def test_a_single_image_gives_means_without_intervals(place, run):
    found = run(*GOOD, *QUICK, "--images", "pictures", "--count", 1)
    assert found.code == 0, found.err
    assert "nan" not in found.out


def test_a_factory_may_return_a_classifier(place, run):
    found = run("audit", "--model", "python:mynets:ready", "--out", "out", *QUICK, "--images", "pictures")
    assert found.code == 0, found.err
    assert json.loads((place / "out" / "environment.json").read_text())["setup"]["model"]["output"] == "probability"


def test_an_audit_that_is_interrupted_at_once_leaves_no_file_and_ends_with_130(place, run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("assay.measure.perturbation.Deletion.evaluate", interrupt)
    found = run(*GOOD, *QUICK, "--images", "pictures")
    assert found.code == 130
    assert found.lines[-1] == "assay: interrupted"
    assert "Traceback" not in found.err
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--measure", "MaskIoU"), "MaskIoU needs masks of the known evidence"),
        (("--measure", "Deletio"), "did you mean Deletion?"),
        (("--measure", "Gradient"), "is not a Measure"),
        (("--explainer", "Gradient", "--explainer", "Gradient()"), "Gradient is given twice"),
        (("--explainer", "Gradient", "--preset", "paper"), "--preset paper brings its own explainers"),
        (("--gallery", "0"), "gallery must be at least 1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(place, run, arguments, message):
    found = run(*GOOD, "--images", "pictures", *arguments)
    assert found.code == 2
    assert len(found.lines) == 1, found.err
    assert found.lines[0].startswith("assay: ")
    assert message in found.lines[0]
