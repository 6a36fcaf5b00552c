"""Runs that are gone on with and merged by processes of their own, which know no command before they read the folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import assay

HERE = Path(__file__).parent
INPUT = ("--model", "python:mynets:good", "--images", "pictures", "--block", "1")
EXPLAIN = ("explain", *INPUT, "--explainer", "Gradient")
AUDIT = ("audit", *INPUT, "--explainer", "Gradient", "--measure", "Deletion(steps=2)")
SLURM = {"SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "2"}


def fresh(*arguments, kill=0, **environment):
    """The command line in a process of its own, which is killed at its `kill`-th wait for the disk."""
    paths = os.pathsep.join(map(str, (HERE.parent, Path(assay.__file__).parents[1])))
    known = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "JOB_"))}
    known |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "COLUMNS": "300", **environment}
    words = [sys.executable, str(HERE / "killed.py"), str(kill), *map(str, arguments)]
    return subprocess.run(words, env=known, capture_output=True, text=True, timeout=600)


def results(folder):
    """The files of results, and the parts that they are made of."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "log" and path.name not in ("environment.json", "report.html") and "lock" not in path.name
    }


def test_parts_of_an_array_that_are_killed_and_repeated_are_merged_to_the_files_of_one_run(place, run):
    assert run(*EXPLAIN, "--out", "whole").code == 0
    part = (*EXPLAIN, "--out", "out", "--part", "auto")
    killed = fresh(*part, kill=12, SLURM_ARRAY_TASK_ID="5", **SLURM)
    assert killed.returncode == -9, killed.stderr
    early = fresh("run", "merge", "out", "--trust")
    assert early.returncode == 2
    assert "cannot be merged" in early.stderr
    assert len([line for line in early.stderr.splitlines() if not line.startswith("note: ")]) == 1
    assert not (place / "out" / "predictions.csv").exists()
    first = fresh(*part, SLURM_ARRAY_TASK_ID="5", **SLURM)
    assert "part 1 of 2 is done: 1 of 3 blocks are missing" in first.stdout, first.stderr
    assert "part 2 of 2 is done: all are done" in fresh(*part[:-1], "auto/2", JOB_COMPLETION_INDEX="1").stdout
    merged = fresh("run", "merge", "out", "--trust")
    assert merged.returncode == 0, merged.stderr
    assert "3 images explained" in merged.stdout
    assert results(place / "out") == results(place / "whole")
    assert run("run", "verify", "out").code == 0
    logs = [(place / "out" / "log" / f"part-{number}-of-2.jsonl").read_text().splitlines() for number in (1, 2)]
    assert [sorted(json.loads(line)["block"] for line in lines) for lines in logs] == [[0, 2], [1]]


def test_a_killed_run_is_resumed_by_a_fresh_process_to_the_files_of_an_undisturbed_one(place, run):
    assert run(*AUDIT, "--out", "whole").code == 0
    killed = fresh(*AUDIT, "--out", "out", kill=12)
    assert killed.returncode == -9, killed.stderr
    resumed = fresh("run", "resume", "out", "--trust")
    assert resumed.returncode == 0, resumed.stderr
    assert results(place / "out") == results(place / "whole")


def test_a_tuning_is_resumed_and_not_merged_by_a_fresh_process(place, run):
    method = "DiET(rounds=1, mask_stop=Epochs(1), model_stop=Epochs(1), precision='float32')"
    words = ("tune", "--model", "hard-digits", "--images", "HardDigits(size=32, count=4)", "--device", "cpu", "--method", method)
    assert run(*words, "--out", "whole").code == 0
    killed = fresh(*words, "--out", "out", kill=8)
    assert killed.returncode == -9, killed.stderr
    assert "which has no parts" in fresh("run", "merge", "out").stderr
    resumed = fresh("run", "resume", "out")
    assert resumed.returncode == 0, resumed.stderr
    kept = results(place / "out")
    assert {name.parts[0] for name in kept} == {"run.toml", "masks.zarr", "rounds.csv", "epochs.csv", "tuned.safetensors", "tuned.json"}
    assert kept[Path("tuned.safetensors")] == (place / "whole" / "tuned.safetensors").read_bytes()
