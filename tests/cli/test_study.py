import json
import re

import pytest

from assay.papers.diet.settings import DietSettings
from reference.faces import make_faces
from reference.robustness import TINY as TINY_ROBUSTNESS
from reference.robustness import make_weights
from reference.studies import TINY


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


def write(path, settings):
    path.write_text("\n".join(f"{name} = {toml(value)}" for name, value in settings.items() if value is not None))
    return path


@pytest.fixture
def file(tmp_path):
    """A study file of the tiny study, under a name whose preset brings no model."""
    return write(tmp_path / "tiny.toml", TINY | {"dataset": "celeba"})


@pytest.fixture
def done(monkeypatch):
    """The study replaced by one that keeps its settings and is over at once."""
    from assay.report.page import Sentence
    from assay.study.study import Report

    seen = []

    def study(settings, out, progress, device, file):
        seen.append((settings, out))
        return Report(found=lambda: None, sentences=(Sentence("good", "All is well."),))

    monkeypatch.setattr("assay.papers.diet.study.run_diet", study)
    return seen


def test_a_study_runs_from_a_file_and_goes_to_the_documents(run, file, tmp_path):
    found = run("study", "diet", "--study", file, "--out", tmp_path / "run", "--docs", tmp_path / "docs")
    assert found.code == 0, found.err
    assert f"report: {tmp_path / 'run' / 'report.html'}" in found.out
    assert (tmp_path / "docs" / "diet-celeba.md").exists()
    again = run("run", "resume", tmp_path / "run", "--trust")
    assert again.code == 0, again.err
    assert "nothing was left to do" in again.out
    assert [line for line in again.out.splitlines() if line.startswith("-")] == [
        line for line in found.out.splitlines() if line.startswith("-")
    ]


def test_options_reach_the_settings(run, done, tmp_path):
    found = run(
        *("study", "diet", "--dataset", "chest-xray", "--preset", "paper", "--seed", 4, "--seeds", 2, "--model", "hard-digits"),
        *("--tune-images", 30, "--scored-images", 20, "--weights", "some.safetensors", "--out", tmp_path / "run"),
    )
    assert found.code == 0, found.err
    ((settings, out),) = done
    assert isinstance(settings, DietSettings)
    assert (settings.dataset, settings.preset, settings.seed, settings.model) == ("chest-xray", "paper", 4, "hard-digits")
    assert (settings.tune_images, settings.scored_images, out) == (30, 20, tmp_path / "run")
    assert (settings.seeds, settings.weights, settings.pretrained) == (2, "some.safetensors", False)


def test_a_dry_run_prints_passes_minutes_and_disk_of_each_job_and_does_nothing(run, done, file, tmp_path):
    found = run("study", "diet", "--study", file, "--out", tmp_path / "run", "--dry-run")
    assert found.code == 0, found.err
    for words in ("passes", "minutes", "MB", "tune-diet-0-seed0", "maps-f_b", "all together"):
        assert words in found.out
    assert not done
    assert not (tmp_path / "run").exists()


def test_a_study_file_chooses_its_own_preset(run, done, tmp_path):
    (tmp_path / "one.toml").write_text('dataset = "celeba"\npreset = "paper"\nseed = 2\n')
    assert run("study", "diet", "--study", tmp_path / "one.toml", "--out", tmp_path / "run").code == 0
    settings = done[0][0]
    assert (settings.dataset, settings.preset, settings.seed) == ("celeba", "paper", 2)
    assert "CelebA" in settings.variants["celeba"].train
    assert run("study", "diet", "--study", tmp_path / "one.toml", "--seed", 0, "--out", tmp_path / "run").code == 0
    assert done[1][0].seed == 0


def test_the_verdict_is_told(run, done, tmp_path):
    found = run("study", "diet", "--out", tmp_path / "run")
    assert found.out.startswith("All is well.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "imagenet"), "imagenet"),
        (("--study", "missing.toml"), "cannot read the study file missing.toml"),
        (("--model", "no-such-model"), "unknown model 'no-such-model'"),
        (("--tune-images", 1), "--tune-images"),
        (("--dataset", "celeba"), "celeba"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(arguments, message, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    found = run("study", "diet", *arguments, "--out", tmp_path / "run")
    assert (found.code, len(found.lines)) == (2, 1)
    assert message in found.lines[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"), [("dataset = 3", "dataset"), ('preset = "large"', "preset"), ("seed = 'x'", "seed"), ("colour = 1", "colour")]
)
def test_a_wrong_study_file_is_one_line(text, message, run, tmp_path):
    (tmp_path / "bad.toml").write_text(text)
    found = run("study", "diet", "--study", tmp_path / "bad.toml", "--out", tmp_path / "run")
    assert (found.code, len(found.lines)) == (2, 1), found.err
    assert f"study file is wrong at {message}" in found.lines[0]


def test_the_robustness_study_runs_from_a_file_and_is_resumed(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    make_weights(tmp_path / "weights")
    path = write(tmp_path / "tiny.toml", TINY_ROBUSTNESS)
    words = ("study", "robustness", "--study", path, "--weights", "weights", "--models", "tiny", "--models", "tiny-linf")
    price = run(*words, "--out", tmp_path / "run", "--dry-run")
    assert price.code == 0, price.err
    assert all(word in price.out for word in ("passes", "minutes", "tiny-linf", "all together"))
    assert not (tmp_path / "run").exists()
    found = run(*words, "--out", tmp_path / "run", "--docs", tmp_path / "docs")
    assert found.code == 0, found.err
    assert f"report: {tmp_path / 'run' / 'report.html'}" in found.out
    assert (tmp_path / "docs" / "tiny.md").exists()
    monkeypatch.chdir("/")
    again = run("run", "resume", tmp_path / "run", "--trust")
    assert again.code == 0, again.err
    assert "nothing was left to do" in again.out
    told = run("run", "status", tmp_path / "run")
    assert re.search(r"\b(\d+) of \1 steps, \1 of \1 blocks are done", told.out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--models", "resnet-cifar10"), "make them by assay train --data cifar10 --architecture resnet-small"),
        (("--weights", "nowhere"), "no folder of weights nowhere"),
        (("--images", "1"), "--images"),
        (("--preset", "large"), "--preset"),
        (("--study", "missing.toml"), "cannot read the study file missing.toml"),
    ],
)
def test_a_mistake_in_the_robustness_study_is_one_line_and_leaves_nothing(arguments, message, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("assay.models.sources.checkpoint.shipped", lambda: ("hard-digits",))
    write(tmp_path / "tiny.toml", TINY_ROBUSTNESS)
    words = arguments if "--study" in arguments else ("--study", "tiny.toml", *arguments)
    found = run("study", "robustness", *words, "--out", tmp_path / "run")
    assert (found.code, len(found.lines)) == (2, 1), found.err
    assert message in found.lines[0]
    assert not (tmp_path / "run").exists()


def test_the_study_of_celeba_runs_on_drawn_faces_in_the_official_layout(run, tmp_path, monkeypatch):
    monkeypatch.setattr("assay.papers.diet.study._drawings", lambda *_: ())
    make_faces(tmp_path)
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    parts = {"train": "train", "tune": "train", "test": "test"}
    many = {"train": 4, "test": 2}
    specs = {name: f"CelebA(split='{part}', size=32, per_class={many[part]})" for name, part in parts.items()}
    specs["reversed"] = "CelebA(split='test', size=32, per_class=2, glasses='reversed')"
    few = {
        "variants": {"celeba": specs},
        "architecture": TINY["architecture"].replace("(w", "(classes=3, w"),
        "seeds": 1,
        "counted_images": 6,
        "tune_images": 12,
        "scored_images": 6,
    }
    path = write(tmp_path / "faces.toml", TINY | few | {"methods": {"DiET": TINY["methods"]["DiET"][:1]}})
    found = run("study", "diet", "--dataset", "celeba", "--study", path, "--out", tmp_path / "run")
    assert found.code == 0, found.err
    assert "when the signal is on the other class" in found.out
