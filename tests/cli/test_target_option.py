"""`--target` and `--head`."""

import numpy as np
import pytest
import torch

import assay
from assay.data import load
from reference.nets import plain

BASE = ("explain", "--model", "python:mynets:good", "--images", "classes", "--explainer", "Gradient", "--no-overlays", "--out", "out")


def pixels():
    data = load("classes", "test", None)
    return torch.stack([data[number].image for number in range(len(data))])


def maps(place):
    with np.load(place / "out" / "maps.npz") as kept:
        return torch.from_numpy(kept["Gradient"])


@pytest.mark.parametrize(
    ("given", "targets"),
    [
        ((), None),
        (("predicted",), None),
        (("2",), 2),
        (("2", "0"), assay.Contrast(2, 0)),
        (("Probability(3)",), assay.Probability(3)),
    ],
)
def test_what_is_explained_is_what_is_asked_for(place, run, given, targets):
    found = run(*BASE, *(part for one in given for part in ("--target", one)))
    assert found.code == 0, found.err
    torch.testing.assert_close(maps(place), assay.Gradient()(assay.Classifier(plain()), pixels(), targets))


def test_labels_of_classes_that_the_model_has_are_explained(place, run):
    with (place / "mynets.py").open("a") as file:
        file.write("\ndef two():\n    return assay.Classifier(plain(classes=2), classes=['dog', 'cat'])\n")
    found = run(*BASE[:2], "python:mynets:two", *BASE[3:], "--target", "labelled")
    assert found.code == 0, found.err
    expected = assay.Gradient()(assay.Classifier(plain(classes=2)), pixels(), torch.tensor([1, 1, 0]))
    torch.testing.assert_close(maps(place), expected)
    by_name = run(*BASE[:2], "python:mynets:two", *BASE[3:-1], "named", "--target", "cat")
    assert by_name.code == 0, by_name.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("labelled",), "labels of the model's classes"),
        (("cow",), "--target cow is no class"),
        (("4",), "--target 4 is no class"),
        (("1", "1"), "against itself"),
        (("0", "1", "2"), "two for their contrast, not 3"),
        (("Logit(9)",), "class 9 of a model with 4 classes"),
    ],
)
def test_targets_that_are_none_are_refused_before_work(place, run, given, message):
    found = run(*BASE, *(part for one in given for part in ("--target", one)))
    assert (found.code, len(found.lines)) == (2, 1)
    assert message in found.lines[0]
    assert not (place / "out").exists()


@pytest.mark.parametrize("command", ["audit", "attack"])
def test_heads_and_targets_reach_audits_and_attacks(place, run, command):
    more = ("--measure", "Deletion(steps=2)") if command == "audit" else ("--steps", 2)
    found = run(command, *BASE[1:7], *BASE[8:], "--head", "sigmoid", "--target", "1", *more)
    assert found.code == 0, found.err
    report = (place / "out" / "report.html").read_text()
    assert "class 1" in report if command == "audit" else report
