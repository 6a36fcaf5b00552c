"""Kill runs at random moments, hundreds of times, and see that each ends with the files of a run that nobody disturbed.

python benchmarks/kill.py [KILLS] [SEED]

Each round begins a command on a few small images, in one process or, where it has parts, in two of them at the same time (`--part`), kills it after a random
time, and starts it again, by the same command or by `assay run resume`, until it ends by itself; parts are then merged. What is there must be the same bytes as
of the undisturbed run, but for what says when it ran, and `assay run verify` must find nothing wrong. The seed decides the moments; exit code 1 tells that a
round ended otherwise. Processes are forks of this one, which has imported torch: a kill while that is imported tests nothing.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

LIME = "Lime(samples=20, segments=Grid(rows=3, columns=3))"
INPUT = ("--model", "hard-digits", "--images", "HardDigits(size=32)", "--device", "cpu")
IMAGES = (*INPUT, "--count", "8", "--block", "1")
TINY = "SmallResNet(widths=(4,), blocks=(1,), strides=(2,), stem=4, stem_stride=2)"
METHOD = "DiET(rounds=2, mask_stop=Epochs(2), model_stop=Epochs(1), precision='float32')"
COMMANDS = {
    "audit": ("audit", *IMAGES, "--explainer", "Gradient", "--explainer", LIME, "--measure", "Deletion(steps=8)"),
    "explain": ("explain", *IMAGES, "--explainer", "Gradient", "--explainer", LIME),
    "attack": ("attack", *IMAGES, "--explainer", "Gradient", "--attack", "MapAttack(steps=3)"),
    "certify": (
        "certify",
        *IMAGES,
        "--output",
        "probability",
        "--smoothing",
        "SmoothGrad(sigma=0.25, samples=8)",
        "--samples",
        "20",
        "--eps",
        "0.02",
    ),
    "frontier": (
        "frontier",
        *IMAGES,
        "--explainer",
        "Gradient",
        "--sigma",
        "0",
        "--sigma",
        "0.1",
        "--samples",
        "4",
        "--attack",
        "MapAttack(steps=2)",
    ),
    "train": ("train", "--data", "HardDigits(size=32, count=60)", "--architecture", TINY, "--epochs", "6", "--device", "cpu"),
    "tune": ("tune", *INPUT, "--count", "8", "--method", METHOD),
}
PARTS = ("audit", "explain", "attack", "certify", "frontier")
"""Commands that have parts."""
READY = ("torch", "torchvision", "timm", "scipy.stats", "skimage.segmentation", "matplotlib.pyplot", "zarr")
"""Imported once; nothing that starts threads may be among them."""


def start(arguments: tuple[str, ...]) -> int:
    """A process that has imported Assay and begins the command now; its number."""
    ready, told = os.pipe()
    child = os.fork()
    if child:
        os.close(told)
        os.read(ready, 1)
        os.close(ready)
        return child
    code: object = 99
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        import assay.study.audit.study
        import assay.study.explain  # noqa: F401
        from assay.cli import main

        os.write(told, b"r")
        os.close(told)
        sys.argv = ["assay", *arguments]
        main()
    except SystemExit as ended:
        code = ended.code
    finally:
        os._exit(code if isinstance(code, int) else 99)


def ended(process: int, longest: float = 3600) -> int | None:
    """The exit code of a process; None where it has not ended within so many seconds."""
    until = time.monotonic() + longest
    while True:
        gone, state = os.waitpid(process, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(state)
        if time.monotonic() >= until:
            return None
        time.sleep(0.005)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but those that say when it ran and on which commit."""
    files = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("environment.json", "report.html", "net.json", "tuned.json")
    ]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.parent.name != "log" and "lock" not in path.name
    }


def out(name: str, folder: Path) -> tuple[str, ...]:
    """The command, with where its results go."""
    return (*COMMANDS[name], "--out", str(folder / "net.safetensors" if name == "train" else folder))


def going_on(command: tuple[str, ...], folder: Path, moments: random.Random) -> tuple[str, ...]:
    """The same command, or, in half of the cases where there is something to go on with and no part, `assay run resume`."""
    homes = [home for home in (folder, folder / "net.run") if (home / "environment.json").exists() and (home / "run.toml").exists()]
    return ("run", "resume", str(homes[0])) if homes and "--part" not in command and moments.random() < 0.5 else command


def main(kills: int, seed: int) -> int:
    """Make that many kills; the number of rounds that ended otherwise."""
    for name in READY:
        __import__(name)
    moments, counted = random.Random(seed), dict.fromkeys(COMMANDS, 0)
    done = rounds = wrong = 0
    with tempfile.TemporaryDirectory() as home:
        whole: dict[str, dict[str, str]] = {}
        longest: dict[str, float] = {}
        for name in COMMANDS:
            process, began = start(out(name, Path(home, name))), time.monotonic()
            if ended(process) != 0:
                raise SystemExit(f"the undisturbed {name} failed")
            longest[name], whole[name] = time.monotonic() - began, hashes(Path(home, name))
        while done < kills:
            name, folder = moments.choice(list(COMMANDS)), Path(home, "cut")
            command = out(name, folder)
            left = [(*command, "--part", f"{number}/2") for number in (1, 2)] if name in PARTS and moments.random() < 0.5 else [command]
            parts, codes = len(left), set[int]()
            while left:
                processes = [start(going_on(one, folder, moments)) for one in left]
                ends, going = time.monotonic() + (moments.uniform(0, longest[name]) if done < kills else 3600), []
                for one, process in zip(left, processes, strict=True):
                    code = ended(process, max(0.0, ends - time.monotonic()))
                    if code is None:
                        os.kill(process, signal.SIGKILL)
                        code = ended(process)
                        if code == -signal.SIGKILL:
                            done, counted[name] = done + 1, counted[name] + 1
                            going.append(one)
                            continue
                    assert code is not None
                    codes.add(code)
                left = going
            if parts > 1:
                codes.add(ended(start(("run", "merge", str(folder)))) or 0)
            rounds += 1
            verified = 0 if name == "train" else ended(start(("run", "verify", str(folder))))
            if hashes(folder) != whole[name] or verified or codes != {0}:
                wrong += 1
                print(f"round {rounds} ({name} in {parts}) ended otherwise: codes {codes}, verify {verified}", flush=True)  # noqa: T201
            shutil.rmtree(folder)
            print(f"{done} kills, {rounds} rounds, {wrong} ended otherwise; {counted}", flush=True)  # noqa: T201
    return wrong


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(bool(main(*(numbers + [200, 0][len(numbers) :]))))
