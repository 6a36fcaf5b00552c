import json

import pytest

AUDIT = (
    "audit",
    "--model",
    "python:mynets:good",
    "--images",
    "pictures",
    "--out",
    "out",
    "--explainer",
    "Gradient",
    "--measure",
    "Deletion(steps=3)",
)


@pytest.fixture
def finished(place, run):
    assert run(*AUDIT).code == 0
    return place / "out"


def test_a_card_says_purpose_data_results_limits_and_how_to_verify(finished, run):
    found = run("run", "card", "out")
    assert found.code == 0, found.err
    document = json.loads((finished / "environment.json").read_text())
    for text in ("## Purpose", "## Limits", "3 of 3 could be used", "assay run verify out", document["data"]["sha256"], "| explainer |"):
        assert text in found.out
    verdict = json.loads((finished / "verdict.json").read_text())
    assert all(one["text"] in found.out for one in verdict)


def test_the_card_has_three_forms_with_the_same_numbers(finished, run):
    told = json.loads(run("run", "card", "out", "--format", "json").out)
    assert run("run", "card", "out", "--format", "html", "--out", "card.html").out.strip() == "card: card.html"
    page = (finished.parent / "card.html").read_text()
    markdown = run("run", "card", "out").out
    mean = told["results"][0]["mean (95 % interval)"]
    assert mean in markdown
    assert mean in page


def test_headings_of_annex_iv_are_an_option(finished, run):
    assert "## 3. Capabilities and limitations" in run("run", "card", "out", "--headings", "annex-iv").out


def test_a_file_that_was_changed_is_named_on_the_card(finished, run):
    (finished / "summary.csv").write_text((finished / "summary.csv").read_text() + "\n")
    assert "summary.csv is not what was written" in run("run", "card", "out").out


def test_a_folder_that_is_no_run_is_one_line(place, run):
    found = run("run", "card", "pictures")
    assert (found.code, len(found.lines)) == (2, 1)
