"""Every mistake of a user: one line on standard error that names it, exit code 2, no traceback, nothing written."""

import pytest
import torch

import assay
from assay.cli import main

BASE = {"--model": "python:mynets:good", "--images": "pictures", "--out": "out", "--explainer": "Gradient"}
MISTAKES = [
    ({"--explainer": "SmothGrad(sigma=0.1)"}, "did you mean SmoothGrad?"),
    ({"--explainer": "SmoothGrad(sgma=0.1)"}, "did you mean sigma?"),
    ({"--explainer": "SmoothGrad(sigma=-1)"}, "sigma must be at least 0"),
    ({"--explainer": "SmoothGrad(sigma='x')"}, "sigma must be a number"),
    ({"--explainer": "SmoothGrad(sigma=0.1"}, "cannot read the spec"),
    ({"--explainer": "__import__('os')"}, "unknown name __import__"),
    ({"--explainer": "Deletion"}, "is not an Explainer"),
    ({"--images": "picturs/x"}, "there is no folder picturs/x"),
    ({"--images": "hard-digit"}, "did you mean hard-digits?"),
    ({"--images": "empty"}, "there are no images"),
    ({"--images": "corrupt"}, "x.png: the file is empty"),
    ({"--images": "mynets.py"}, "is a file, not a folder"),
    ({"--count": "4"}, "--count 4 asks for more images than the 3 of pictures"),
    ({"--count": "0"}, "'--count'"),
    ({"--count": "many"}, "'--count'"),
    ({"--split": "val"}, "--split val is for named data sets"),
    ({"--images": "hard-digits", "--split": "tets"}, "did you mean test?"),
    ({"--model": "python:mynets:wrong_rank"}, "the model gives (4, 6, 6) per image, which is no one class: say what is explained"),
    ({"--model": "python:mynets:one_logit", "--head": "softmax"}, "where logits (n, K), K >= 2, are needed"),
    ({"--model": "python:mynets:blind"}, "NaN or inf"),
    ({"--model": "python:mynets:failing"}, "no luck today really none"),
    ({"--model": "python:mynets:nothing"}, "returns int, not a torch.nn.Module"),
    ({"--model": "python:mynets:gone"}, "has no gone"),
    ({"--model": "python:nonets:good"}, "cannot import nonets"),
    ({"--model": "python:mynets"}, "write python:package.module:factory"),
    ({"--model": "python:mynets:ready", "--output": "log_probability"}, "returns a Classifier with output probability"),
    ({"--model": "hard-digit"}, "did you mean hard-digits?"),
    ({"--model": "timm:resnet1", "--random-weights": True}, "did you mean resnet"),
    ({"--model": "timm:resnet18"}, "say which weights timm:resnet18 gets"),
    ({"--model": "gone.safetensors"}, "there is no checkpoint gone.safetensors"),
    ({"--model": "hard-digits", "--images": "pictures", "--weights": "weights.pt"}, "it has its own"),
    ({"--weights": "gone.pt"}, "there is no weights file gone.pt"),
    ({"--weights": "pickle.pt"}, "refused"),
    ({"--weights": "mynets.py"}, "mynets.py"),
    ({"--out": "full"}, "full already holds kept.txt"),
    ({"--out": "mynets.py"}, "cannot make the folder mynets.py"),
    ({"--device": "gpu"}, "cannot use --device gpu"),
    ({"--precision": "float16"}, "'--precision'"),
    ({"--outt": "x"}, "--outt"),
    ({"--model": None}, "--model"),
]
CASES = [(command, *mistake) for command in ("explain", "audit") for mistake in MISTAKES]


def arguments(change):
    return [word for name, value in (BASE | change).items() if value is not None for word in (name, value) if word is not True]


@pytest.fixture
def full(place):
    """The place with an empty folder, a folder of corrupt images only, and one that holds something."""
    (place / "empty").mkdir()
    (place / "corrupt").mkdir()
    (place / "corrupt" / "x.png").write_bytes(b"")
    (place / "full").mkdir()
    (place / "full" / "kept.txt").write_text("mine")
    return place


@pytest.mark.parametrize(
    ("command", "change", "message"), [*CASES, ("explain", {"--explainer": None}, "--explainer")], ids=lambda value: str(value)[:40]
)
def test_a_mistake_is_one_line_and_exit_code_2(full, run, command, change, message):
    more = ("--measure", "Deletion(steps=2)") if command == "audit" else ()
    found = run(command, *arguments(change), *more)
    assert found.code == 2, found.err
    assert "Traceback" not in found.err
    # Where the mistake shows only at work, lines of progress and notes on the model come before it.
    lines = [line for line in found.lines if not line.startswith((f"{command}: ", "note: "))]
    assert len(lines) == 1, found.err
    assert lines[0].startswith("assay: ")
    assert message in lines[0]
    assert not (full / "out").exists()
    assert [one.name for one in (full / "full").iterdir()] == ["kept.txt"]


def test_weights_for_another_network_are_refused(place, run):
    other = assay.build("SmallResNet(widths=(4,), blocks=(1,), strides=(2,), stem=4, stem_stride=2)").make(0)
    torch.save(other.state_dict(), place / "other.pt")
    found = run("explain", *arguments({"--weights": "other.pt"}))
    assert (found.code, len(found.lines)) == (2, 1)
    assert "other.pt does not fit" in found.lines[0]


def test_an_unknown_command_is_one_line(run):
    found = run("audt")
    assert (found.code, len(found.lines)) == (2, 1)
    assert "audt" in found.lines[0]


def test_no_command_shows_the_help(run):
    found = run()
    assert found.code in (0, 2)
    assert all(name in found.out + found.err for name in ("audit", "explain", "demo", "train", "data"))
    assert "Traceback" not in found.err


@pytest.mark.parametrize("command", ["audit", "explain", "demo"])
def test_help_ends_well(run, command):
    found = run(command, "--help")
    assert found.code == 0
    assert "--out" in found.out


def test_a_bug_is_not_hidden_behind_a_message(place, run, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("assay.cli.tasks.options.selection", broken)
    monkeypatch.setattr("sys.argv", ["assay", "explain", *arguments({})])
    with pytest.raises(ZeroDivisionError):
        main()
