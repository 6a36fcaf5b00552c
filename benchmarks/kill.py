"""Kill runs at random moments, hundreds of times, and see that each ends with the files of a run that nobody disturbed.

python benchmarks/kill.py [KILLS] [SEED]

Each round begins an `assay audit` or `assay explain` of twelve small images, in one process or in two parts at the same time (`--part`), kills
them after a random time, and starts them again until they end by themselves; parts are then merged. A round's folder must then hold the same bytes as the undisturbed run, but for the log and the
environment, and `assay run verify` must find nothing wrong. The seed decides the moments; exit code 1 tells that a round ended otherwise.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIME = "Lime(samples=20, segments=Grid(rows=3, columns=3))"
INPUT = ("--model", "hard-digits", "--images", "HardDigits(size=32)", "--count", "12", "--block", "1")
COMMANDS = {
    "audit": ("audit", *INPUT, "--explainer", "Gradient", "--explainer", LIME, "--measure", "Deletion(steps=8)"),
    "explain": ("explain", *INPUT, "--explainer", "Gradient", "--explainer", LIME),
}
READY = """
from assay.cli import main
import assay.study.audit.study, assay.study.explain
print("ready", flush=True)
main()
"""
"""Importing takes longer than the run, and a kill meanwhile tests nothing."""


def start(arguments: tuple[str, ...]) -> subprocess.Popen[str]:
    """A process that has imported everything and begins the run now."""
    process = subprocess.Popen(
        [sys.executable, "-c", READY, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but those that say when it ran and on which commit."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("environment.json", "report.html")]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.parent.name != "log" and "lock" not in path.name
    }


def main(kills: int, seed: int) -> int:
    """Make that many kills; the number of rounds that ended otherwise."""
    moments = random.Random(seed)
    done = rounds = wrong = 0
    with tempfile.TemporaryDirectory() as home:
        whole: dict[str, dict[str, str]] = {}
        longest: dict[str, float] = {}
        for name, command in COMMANDS.items():
            process = start((*command, "--out", f"{home}/{name}"))
            began = time.monotonic()
            process.communicate()
            longest[name], whole[name] = time.monotonic() - began, hashes(Path(home, name))
            if not whole[name]:
                raise SystemExit(f"the undisturbed {name} failed")
        while done < kills:
            name = moments.choice(list(COMMANDS))
            folder = Path(home, "cut")
            command = (*COMMANDS[name], "--out", str(folder))
            left = [(*command, "--part", f"{number}/2") for number in (1, 2)] if moments.random() < 0.5 else [command]
            parts, codes = len(left), set[int]()
            while left:
                processes = [start(one) for one in left]
                ends = time.monotonic() + (moments.uniform(0, longest[name]) if done < kills else 3600)
                going = []
                for one, process in zip(left, processes, strict=True):
                    try:
                        codes.add(process.wait(max(0, ends - time.monotonic())))
                    except subprocess.TimeoutExpired:
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                        going.append(one)
                        done += 1
                left = going
            if parts > 1:
                codes.add(subprocess.run([sys.executable, "-m", "assay", "run", "merge", str(folder)], capture_output=True).returncode)
            rounds += 1
            verified = subprocess.run([sys.executable, "-m", "assay", "run", "verify", str(folder)], capture_output=True, text=True)
            if hashes(folder) != whole[name] or verified.returncode or codes != {0}:
                wrong += 1
                print(f"round {rounds} ({name} in {parts}) ended otherwise: {verified.stdout}", flush=True)  # noqa: T201
            shutil.rmtree(folder)
            print(f"{done} kills, {rounds} rounds, {wrong} ended otherwise", flush=True)  # noqa: T201
    return wrong


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(bool(main(*(numbers + [200, 0][len(numbers) :]))))
