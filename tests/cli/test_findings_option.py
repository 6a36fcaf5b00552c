"""Several labels for an image on the command line: scored for a head of findings, refused in one line for any other."""

import re

import polars as pl
import pytest
import torch

import assay
from reference.nets import plain

AUDIT = ("audit", "--model", "python:mynets:good", "--images", "pictures", "--explainer", "Gradient", "--measure", "Deletion(steps=3)")


@pytest.fixture
def table(place):
    """What the network says of the first two pictures, with one finding wrong, in two forms; nothing of the third."""
    batch = assay.data.read(assay.data.load("pictures"), range(3))
    found = plain()(batch.images) > 0
    found[0, 1] = ~found[0, 1]
    rows = zip(batch.names[:2], found[:2].tolist(), strict=True)
    lines = [(name, marks, ";".join(str(at) for at, there in enumerate(marks) if there)) for name, marks in rows]
    text = ["file,0,1,2,3,found", *(f"{name},{','.join(str(int(one)) for one in marks)},{cell}" for name, marks, cell in lines)]
    (place / "labels.csv").write_text("\n".join(text))
    return found


@pytest.mark.parametrize(("columns", "more"), [("found", ("--separator", ";")), ("0,1,2,3", ())])
def test_an_audit_counts_right_findings(place, run, table, columns, more):
    done = run(*AUDIT, "--head", "sigmoid", "--labels", f"labels.csv:file:{columns}", *more, "--out", "out")
    assert done.code == 0, done.err
    page = re.sub(r"<[^>]+>", " ", (place / "out" / "report.html").read_text())
    # A class that no cell names is none of the labels'.
    known = 4 if columns != "found" else 1 + int(table[:2].any(0).nonzero().max())
    assert f"50.0% of 2 labelled images in all their findings, {1 - 1 / (2 * known):.1%} of the findings" in page
    assert f"right in all findings on 1 of 2 labelled images, and in {2 * known - 1} of {2 * known} findings" in page
    assert "have no labels" not in page
    status = pl.read_csv(place / "out" / "status.csv")
    assert status["findings right"].to_list() == [known - 1, known, 0]
    assert status["findings"].to_list() == [known, known, 0]


def test_explain_names_all_labels(place, run, table):
    done = run("explain", *AUDIT[1:-2], "--head", "sigmoid", "--labels", "labels.csv:file:0,1,2,3", "--out", "out")
    assert done.code == 0, done.err
    told = pl.read_csv(place / "out" / "predictions.csv")["label"].fill_null("").to_list()
    expected = ["; ".join(str(at) for at in torch.nonzero(row)[:, 0].tolist()) for row in table[:2]]
    assert told == [*expected, ""]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "several findings for an image, but the model's head is softmax"),
        (("--head", "sigmoid", "--target", "labelled"), "name the finding, --target NAME"),
        (("--head", "sigmoid", "--mosaic", "1x2"), "several labels, where a cell must show one class"),
    ],
)
@pytest.mark.parametrize("labels", [("labels.csv:file:0,1,2,3",), ("labels.csv:file:found", "--separator", ";")])
def test_several_labels_are_refused_where_one_is_meant(run, table, options, message, labels):
    done = run(*AUDIT, "--labels", *labels, *options, "--out", "out")
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
