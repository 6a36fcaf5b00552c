"""Runs that are killed, by the system itself, at random moments: the same command again ends with the same files."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import assay

HERE = Path(__file__).parent
LIME = "Lime(samples=6, segments=Grid(rows=2, columns=2))"
AUDIT = ("audit", "--explainer", "Gradient", "--explainer", LIME, "--measure", "Deletion(steps=3)", "--gallery", "3")
EXPLAIN = ("explain", "--explainer", "Gradient", "--explainer", LIME)
INPUT = ("--model", "python:mynets:good", "--images", "many", "--block", "2")
DISK = 50
"""Waits for the disk that each of these runs makes at least."""


@pytest.fixture
def many(place):
    """Seven pictures, one of them damaged."""
    noise = np.random.default_rng(1)
    (place / "many").mkdir()
    for at in range(7):
        Image.fromarray(noise.integers(0, 255, (8, 8, 3), np.uint8)).save(place / "many" / f"{at}.png")
    (place / "many" / "3.png").write_bytes(b"")
    return place


def contents(folder):
    """Every file of a run but those that say when it ran; commits may change while tests run."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    found = {
        name: (folder / name).read_bytes() for name in names if name not in ("environment.json", "lock") and not name.startswith("log/")
    }
    commit = json.loads((folder / "environment.json").read_text())["code"].get("commit", "")
    return {name: content.replace(commit.encode(), b"") if name == "report.html" else content for name, content in found.items()}


def start(arguments, at, before=()):
    paths = os.pathsep.join(map(str, (HERE.parent, Path(assay.__file__).parents[1])))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "COLUMNS": "300"}
    command = [*(before or [sys.executable]), str(HERE / "killed.py"), str(at), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, start_new_session=True)


@pytest.mark.parametrize(("command", "kills"), [(AUDIT, 2), (EXPLAIN, 1)], ids=["audit", "explain"])
def test_a_run_that_is_killed_ends_as_one_that_was_not(many, run, command, kills):
    whole = start((*command, *INPUT, "--out", "whole"), 0)  # A process of its own, since a report names all packages in use.
    assert whole.returncode == 0, whole.stderr
    moments = random.Random(command[0])
    for _ in range(kills):
        killed = start((*command, *INPUT, "--out", "cut"), moments.randrange(5, DISK))
        assert killed.returncode == -9, killed.stderr
    ended = start((*command, *INPUT, "--out", "cut"), 0)
    assert ended.returncode == 0, ended.stderr
    assert contents(many / "cut") == contents(many / "whole")
    checked = run("run", "verify", "cut")
    assert checked.code == 0, checked.out
    logged = [json.loads(line) for line in (many / "cut" / "log" / "rank-0.jsonl").read_text().splitlines()]
    assert sorted(line["block"] for line in logged) == [-1, 0, 1, 2, 3]
    before = contents(many / "cut")
    again = run(*command, *INPUT, "--out", "cut")
    assert again.code == 0
    assert "nothing was left to do" in again.out
    assert contents(many / "cut") == before


def torchrun(*more):
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={29000 + os.getpid() % 1000}", *more]


def test_two_processes_of_which_one_is_killed_and_restarted_give_what_one_gives(many, run):
    assert run(*AUDIT, *INPUT, "--out", "one").code == 0
    ended = start((*AUDIT, *INPUT, "--out", "two"), 8, torchrun("--max-restarts=1"))
    assert ended.returncode == 0, ended.stderr
    assert "exitcode: -9" in ended.stderr or "Signal 9 (SIGKILL)" in ended.stderr
    assert ended.stdout.count("report: two/report.html") == 1
    one, two = contents(many / "one"), contents(many / "two")
    assert one.pop("report.html") is not None  # It tells the number of threads.
    assert two.pop("report.html") is not None
    assert one == two
    kept = json.loads((many / "two" / "environment.json").read_text())
    assert [start["processes"] for start in kept["starts"]] == [2, 2]
    assert len(list((many / "two" / "log").iterdir())) == 2
    assert run("run", "verify", "two").code == 0
    assert "identical" in run("run", "compare", "one", "two").out


def test_a_mistake_is_told_once_by_several_processes_and_all_of_them_end(many):
    ended = start((*AUDIT, *INPUT[:3], "gone", "--out", "two"), 0, torchrun())
    assert ended.returncode == 1
    told = [line for line in ended.stderr.splitlines() if line.startswith("assay: ")]
    assert len(told) == 1, ended.stderr
    assert "gone" in told[0]
    assert not (many / "two").exists()
