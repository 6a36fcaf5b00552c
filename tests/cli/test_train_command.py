import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import assay.cli.commands.data
import assay.cli.commands.run  # noqa: F401  (registers the command)
from assay.attack.predictions.ensemble import AttackEnsemble
from assay.cli.app import app
from assay.cli.studies import add_studies
from assay.core.registry import build
from assay.errors import DataError, ModelError, SpecError, WeightsError
from assay.models.sources import checkpoint
from assay.models.training.fitting import Fitting
from assay.run.folder import Run

add_studies(["train"])
TINY = "SmallResNet(widths=(4,), blocks=(1,), strides=(2,), stem=4, stem_stride=2)"
DATA = ("--data", "HardDigits(size=32, count=40)")
QUICK = (*DATA, "--architecture", TINY, "--epochs", 1)

KILLED = """
import os, signal
from assay.models.training.fitting import Fitting
whole = Fitting.epoch
def epoch(self):
    if len(self.history) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self)
Fitting.epoch = epoch
from assay.cli import main
main()
"""
"""A process that is killed in its third epoch."""


def run(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)], env={"COLUMNS": "600"})


@pytest.fixture
def folder(tmp_path):
    """Training and test images in folders, two classes."""
    noise = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for name in ("left", "right"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 255, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{number}.png")
    return tmp_path / "images"


def test_training_writes_a_checkpoint_that_loads(tmp_path):
    result = run(*QUICK, "--out", tmp_path / "runs" / "net.safetensors")
    assert result.exit_code == 0, result.output
    model = checkpoint.load(tmp_path / "runs" / "net.safetensors")
    assert model.classes == tuple("0123456789")
    card = json.loads((tmp_path / "runs" / "net.json").read_text())
    assert f"{100 * card['test_accuracy']['value']:.2f}%" in result.output
    assert str(tmp_path / "runs" / "net.json") in result.output


def test_the_command_on_the_card_makes_the_same_weights(tmp_path):
    run(*QUICK, "--seed", 3, "--half", "--precision", "float32", "--out", tmp_path / "net.safetensors")
    first = (tmp_path / "net.safetensors").read_bytes()
    card = json.loads((tmp_path / "net.json").read_text())
    words = shlex.split(card["command"])
    assert words[:2] == ["assay", "train"]
    result = run(*words[2:], "--overwrite")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "net.safetensors").read_bytes() == first


def test_training_may_start_from_the_weights_of_a_checkpoint(tmp_path):
    run(*QUICK, "--seed", 3, "--out", tmp_path / "first.safetensors")
    still = "Recipe(lr=1e-30, weight_decay=0, precision='float32')"
    result = run(
        *DATA, "--recipe", still, "--epochs", 1, "--start", tmp_path / "first.safetensors", "--out", tmp_path / "second.safetensors"
    )
    assert result.exit_code == 0, result.output
    (one, first), (other, second) = (checkpoint.read_checkpoint(tmp_path / f"{name}.safetensors") for name in ("first", "second"))
    assert second.start == first.sha256
    assert second.architecture == first.architecture
    torch.testing.assert_close(dict(other.named_parameters()), dict(one.named_parameters()), rtol=0, atol=1e-20)
    assert f"--start {tmp_path / 'first.safetensors'}" in second.command


def test_a_folder_with_train_and_test_inside_is_enough(folder, tmp_path):
    result = run("--data", folder, "--epochs", 1, "--out", tmp_path / "net.safetensors")
    assert result.exit_code == 0, result.output
    assert checkpoint.load(tmp_path / "net.safetensors").classes == ("left", "right")


def test_test_images_may_come_from_elsewhere(folder, tmp_path):
    result = run("--data", folder / "train", "--test-data", folder / "test", "--epochs", 1, "--out", tmp_path / "net.safetensors")
    assert result.exit_code == 0, result.output


def test_an_interrupted_run_goes_on_when_the_command_is_given_again(tmp_path, monkeypatch):
    undisturbed, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    three = (*QUICK[:-1], 3)
    assert run(*three, "--out", undisturbed).exit_code == 0

    def interrupted_epoch(self):
        if len(self.history) == 2:
            raise KeyboardInterrupt
        return whole_epoch(self)

    whole_epoch = Fitting.epoch
    with monkeypatch.context() as patch:
        patch.setattr(Fitting, "epoch", interrupted_epoch)
        assert run(*three, "--out", out).exit_code != 0
    assert not out.exists()
    begun = []
    monkeypatch.setattr(Fitting, "epoch", lambda self: begun.append(len(self.history)) or whole_epoch(self))
    result = run(*three, "--out", out)
    assert result.exit_code == 0, result.output
    assert begun == [2]
    assert out.read_bytes() == undisturbed.read_bytes()
    histories = [json.loads(path.with_suffix(".json").read_text())["history"] for path in (undisturbed, out)]
    assert histories[0] == histories[1]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".safetensors", ".safetensors"]


def test_other_settings_on_an_unfinished_run_are_refused_by_name(tmp_path, monkeypatch):
    def interrupted_keeping(self, *_):
        kept(self, *_)
        raise KeyboardInterrupt

    kept = Run.save_state
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_state", interrupted_keeping)
        assert run(*QUICK, "--out", tmp_path / "net.safetensors").exit_code != 0
    assert (tmp_path / "net.run" / "run.toml").is_file()
    for changed, message in ((("--seed", 5), "seed is 5, there 0"), (("--epochs", 9), "choices.epochs is 9, there 1")):
        with pytest.raises(DataError, match=message):
            raise run(*QUICK, *changed, "--out", tmp_path / "net.safetensors").exception


def test_run_resume_goes_on_with_a_training_too(tmp_path, monkeypatch):
    def interrupted_epoch(self):
        if self.history:
            raise KeyboardInterrupt
        return whole_epoch(self)

    whole_epoch = Fitting.epoch
    with monkeypatch.context() as patch:
        patch.setattr(Fitting, "epoch", interrupted_epoch)
        run(*QUICK[:-1], 2, "--half", "--adversarial", "PGDTraining(eps=0.1, norm='l2')", "--out", tmp_path / "net.safetensors")
    result = CliRunner().invoke(app, ["run", "resume", str(tmp_path / "net.run"), "--trust"])
    assert result.exit_code == 0, result.output
    card = checkpoint.read_checkpoint(tmp_path / "net.safetensors")[1]
    assert (len(card.history), card.stored, build(card.robust.attack).eps) == (2, "float16", 0.1)
    assert not (tmp_path / "net.run").exists()


def test_a_run_that_fails_before_its_first_epoch_is_over_leaves_nothing_behind(tmp_path):
    diverging = "Recipe(epochs=1, batch_size=8, lr=1e30, warmup=0.0)"
    with pytest.raises(ModelError, match="diverged"):
        raise run(*DATA, "--architecture", TINY, "--recipe", diverging, "--out", tmp_path / "net.safetensors").exception
    assert list(tmp_path.iterdir()) == []


def test_a_failed_start_leaves_no_folder_above_the_checkpoint(tmp_path):
    for words in (("--recipe", "Recipe(epochs=1, batch_size=8, lr=1e30, warmup=0.0)"), ("--attacked", 3)):
        assert run(*DATA, "--architecture", TINY, *words, "--out", tmp_path / "new" / "deep" / "net.safetensors").exception is not None
        assert list(tmp_path.iterdir()) == []


class DeadError(BaseException):
    """Stands for a process that is killed: it does nothing more."""


def test_a_training_that_is_killed_at_any_moment_while_it_cleans_up_is_not_done_again(tmp_path, monkeypatch):
    class Dying:
        """Every change of the file system from the `at`-th on, after the results have been moved, meets a dead process."""

        def __init__(self, at):
            self.left, self.dead = at, False

        def call(self, real, *more, **options):
            self.left -= 1
            self.dead = self.dead or self.left <= 0
            if self.dead:
                raise DeadError
            return real(*more, **options)

    def killed(self, wanted):
        raise DeadError

    def resume(folder):
        return CliRunner().invoke(app, ["run", "resume", str(folder / "net.run"), "--trust"])

    with monkeypatch.context() as patch:
        patch.setattr(Run, "publish", killed)
        with pytest.raises(DeadError):
            run(*QUICK, "--out", tmp_path / "begun" / "net.safetensors")
    monkeypatch.setattr(Fitting, "epoch", None)
    real, publish = {name: getattr(Path, name) for name in ("unlink", "replace", "rmdir")}, Run.publish
    for at in range(1, 100):
        folder, dying = tmp_path / str(at), Dying(at)
        shutil.copytree(tmp_path / "begun", folder)
        with monkeypatch.context() as patch, suppress(DeadError):

            def dies(self, wanted, dying=dying, patch=patch):
                for name, one in real.items():
                    patch.setattr(Path, name, lambda *more, one=one, dying=dying, **options: dying.call(one, *more, **options))
                publish(self, wanted)

            patch.setattr(Run, "publish", dies)
            resume(folder)
        if (folder / "net.run" / "run.toml").exists():
            again = resume(folder)
            assert again.exit_code == 0, (at, again.exception)
            assert "test accuracy" in again.output
            assert not (folder / "net.run").exists()
        assert checkpoint.load(folder / "net.safetensors").classes == tuple("0123456789")
        with pytest.raises(WeightsError, match="exists already"):
            raise run(*QUICK, "--out", folder / "net.safetensors").exception
        if not dying.dead:
            break
    assert at > 8


def test_adversarial_training_reports_its_robust_accuracy(tmp_path):
    adversary = "PGDTraining(eps=0.5, norm='l2')"
    result = run(*QUICK, "--adversarial", adversary, "--out", tmp_path / "net.safetensors")
    assert result.exit_code == 0, result.output
    card = checkpoint.read_checkpoint(tmp_path / "net.safetensors")[1]
    assert "PGDTraining(eps=0.5, norm='l2', steps=1" in card.recipe
    assert build(card.robust.attack) == AttackEnsemble(eps=0.5, norm="l2")
    assert card.robust.accuracy.value <= card.test_accuracy.value
    assert f"under attack: {card.robust.accuracy}" in result.output


def test_the_robust_accuracy_of_a_standard_network_is_measured_when_asked(tmp_path):
    run(*QUICK, "--robust-accuracy", "PGD(eps=0.0, steps=1)", "--out", tmp_path / "net.safetensors")
    card = checkpoint.read_checkpoint(tmp_path / "net.safetensors")[1]
    assert card.robust.accuracy == card.test_accuracy
    run(*QUICK, "--out", tmp_path / "plain.safetensors")
    assert checkpoint.read_checkpoint(tmp_path / "plain.safetensors")[1].robust is None


@pytest.mark.parametrize("name", ["vit-small", "convmixer-small", "swin-small", "resnet-small"])
def test_the_families_are_known_by_name(name, tmp_path):
    result = run("--data", "HardDigits(size=32, count=10)", "--architecture", name, "--epochs", 1, "--out", tmp_path / "net.safetensors")
    assert result.exit_code == 0, result.output


def test_threads_are_set_only_when_asked(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    run(*QUICK, "--out", tmp_path / "a.safetensors")
    assert asked == []
    run(*QUICK, "--threads", 1, "--out", tmp_path / "b.safetensors")
    assert asked == [1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((*QUICK, "--out", "net.pt"), WeightsError, r"ends in \.safetensors"),
        (("--data", "cifar11", "--out", "net.safetensors"), DataError, "(?i)did you mean cifar10"),
        ((*DATA, "--architecture", "SmalResNet", "--out", "net.safetensors"), SpecError, "did you mean SmallResNet"),
        ((*DATA, "--architecture", "SmallResNet(classes=3)", "--out", "net.safetensors"), ModelError, "classes=3"),
        ((*QUICK, "--recipe", "Recipe(epoch=3)", "--out", "net.safetensors"), SpecError, "did you mean epochs"),
        (("--data", "images/train", "--out", "net.safetensors"), DataError, "no folder train"),
        ((*QUICK, "--start", "hard-digits", "--out", "net.safetensors"), WeightsError, r"start from.*does not fit"),
        ((*QUICK, "--start", "none.safetensors", "--out", "net.safetensors"), WeightsError, "no checkpoint none"),
        ((*QUICK, "--device", "gpu", "--out", "net.safetensors"), ModelError, "'gpu'"),
    ],
)
def test_a_mistake_is_named_before_any_work(arguments, error, message, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(error, match=message):
        raise run(*arguments).exception
    assert list(folder.parent.glob("*.safetensors")) == []


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    undisturbed, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    command = ("--data", "HardDigits(size=32, count=40)", "--architecture", TINY, "--epochs", 4, "--threads", 1)
    words = ["train", *map(str, command), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    for path in (out, undisturbed):
        result = run(*command, "--out", path)
        assert result.exit_code == 0, result.output
    assert out.read_bytes() == undisturbed.read_bytes()
