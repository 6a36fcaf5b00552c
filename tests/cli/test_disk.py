"""A disk that is full or read-only, on a file system of its own where the machine lets tests mount one."""

import errno
import os
import subprocess
from itertools import count

import pytest

from assay.errors import DataError
from assay.run.folder import Run

AUDIT = (
    "audit",
    "--model",
    "python:mynets:good",
    "--images",
    "pictures",
    "--block",
    "1",
    "--explainer",
    "Gradient",
    "--measure",
    "Deletion(steps=2)",
)


@pytest.fixture
def disk(place):
    """`disk(options)` mounts a small file system, or mounts it anew, at the folder `disk`."""
    home = place / "disk"
    home.mkdir()

    def mount(options):
        again = "remount," if home.is_mount() else ""
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", again + options, "tmpfs", str(home)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return home

    yield mount
    if home.is_mount():
        subprocess.run(["umount", str(home)], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(disk, place, run):
    assert run(*AUDIT, "--out", "whole").code == 0
    # The environment fits, the second block does not.
    disk("size=48k")
    found = run(*AUDIT, "--out", "disk/out")
    assert (found.code, len([line for line in found.lines if line.startswith("assay: ")])) == (2, 1), found.err
    assert "the disk of disk/out is full; free some and start the same command again:" in found.lines[-1]
    assert "Traceback" not in found.err
    disk("size=8m")
    assert run(*AUDIT, "--out", "disk/out").code == 0
    for name in ("scores.parquet", "summary.csv", "status.csv", "run.toml"):
        assert (place / "disk" / "out" / name).read_bytes() == (place / "whole" / name).read_bytes()
    assert run("run", "verify", "disk/out").code == 0


def test_a_read_only_disk_is_one_line(disk, run):
    home = disk("size=8m")
    (home / "out").mkdir()
    disk("size=8m,ro")
    found = run(*AUDIT, "--out", "disk/out")
    assert (found.code, len(found.lines)) == (2, 1)
    assert "cannot write in the folder disk/out: Read-only file system" in found.lines[0]
    with pytest.raises(DataError, match="cannot make the folder"), Run.open(home / "new", command="audit", settings={}, answers={}):
        pass


TINY = "SmallResNet(widths=(4,), blocks=(1,), strides=(2,), stem=4, stem_stride=2)"
METHOD = "DiET(rounds=1, mask_stop=Epochs(1), model_stop=Epochs(1), precision='float32')"
TRAIN = ("train", "--data", "HardDigits(size=32, count=20)", "--architecture", TINY, "--epochs", "2")
TUNE = ("tune", "--model", "hard-digits", "--images", "HardDigits(size=32, count=4)", "--device", "cpu", "--method", METHOD)


@pytest.mark.parametrize(
    ("command", "out", "result"), [(TRAIN, "net.safetensors", "."), (TUNE, "out", "out/tuned.safetensors")], ids=["train", "tune"]
)
def test_a_disk_that_fills_up_at_any_write_is_one_line_and_the_work_goes_on(command, out, result, place, run, monkeypatch):
    assert run(*command, "--out", f"whole/{out}").code == 0
    due = (place / "whole" / (out if result == "." else result)).read_bytes()
    sync = os.fsync
    for at in count(1, 3):
        left = iter(range(at - 1))

        def full(descriptor, left=left):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            found = run(*command, "--out", f"{at}/{out}")
        if found.code == 0:
            break
        assert (found.code, len([line for line in found.lines if line.startswith("assay: ")])) == (2, 1), found.err
        assert "is full; free some and start the same command again" in found.lines[-1]
        assert "Traceback" not in found.err
        again = run(*command, "--out", f"{at}/{out}")
        assert again.code == 0, again.err
        assert (place / str(at) / (out if result == "." else result)).read_bytes() == due
        assert not list((place / str(at)).rglob("state"))
    assert at > 9
