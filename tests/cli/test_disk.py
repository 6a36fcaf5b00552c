"""A disk that is full or read-only, on a file system of its own where the machine lets tests mount one."""

import subprocess

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
