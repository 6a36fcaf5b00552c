"""Kill runs at random moments, hundreds of times, and see that each ends with the files of a run that nobody disturbed.

python benchmarks/kill.py [KILLS] [SEED]

Each round begins a command on a few small images, in one process or, where it has parts, in two of them at the same time (`--part`), kills it after a random
time, and starts it again, by the same command or by `assay run resume`, until it ends by itself; parts are then merged, which is killed too. What is there must
be the same bytes as of the undisturbed run, but for what says when it ran, and `assay run verify` must find nothing wrong. The seed draws the times, four in
five of them from when a block or state was kept after the start; exit code 1 tells that a round ended otherwise.

Most processes are forks of this one, which has imported everything: a kill while torch is imported tests nothing. One start in ten is a Python of its own. It
is counted how far a run had come at each kill: nothing kept yet, some blocks or states kept, all blocks kept.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir, suppress
from dataclasses import dataclass, field
from pathlib import Path

LIME = "Lime(samples=8, segments=Grid(rows=2, columns=2))"
INPUT = ("--images", "HardDigits(size=32)", "--device", "cpu")
BLOCKS = 6
IMAGES = (*INPUT, "--model", "tiny.safetensors", "--count", str(BLOCKS), "--block", "1")
TINY = "SmallResNet(widths=(4,), blocks=(1,), strides=(2,), stem=4, stem_stride=2)"
TRAIN = ("train", "--data", "HardDigits(size=32, count=60)", "--architecture", TINY, "--device", "cpu")
METHOD = "DiET(rounds=2, mask_stop=Epochs(2), model_stop=Epochs(1), precision='float32')"
QUICK = "MapAttack(norm='l2', steps=1, restarts=1)"
SMOOTHING = ("--smoothing", "Smoothed(Sparsified(Gradient()), Gaussian(0.25), samples=8)", "--eps", "0.02", "--attack", QUICK)
COMMANDS = {
    "audit": ("audit", *IMAGES, "--explainer", "Gradient", "--explainer", LIME, "--measure", "Deletion(steps=4)"),
    "explain": ("explain", *IMAGES, "--explainer", "Gradient", "--explainer", LIME),
    "attack": ("attack", *IMAGES, "--explainer", "Gradient", "--attack", "MapAttack(steps=3)"),
    "certify": ("certify", *IMAGES, *SMOOTHING),
    "frontier": ("frontier", *IMAGES, *"--explainer Gradient --sigma 0 --sigma 0.1 --samples 2 --attack MapAttack(steps=1)".split()),
    "train": (*TRAIN, "--epochs", "4"),
    "tune": ("tune", *INPUT, "--model", "hard-digits", "--count", "6", "--method", METHOD),
}
PARTS = ("audit", "explain", "attack", "certify", "frontier")
"""Commands that have parts."""
READY = ("torchvision", "timm", "scipy.stats", "skimage.segmentation", "zarr", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg")
"""Imported once for all forks, beside all of Assay; none of them starts threads that work, torch's being one."""
NOTHING, SOME, ALL = "nothing kept", "some kept", "all blocks kept"
FRESH, EARLY, LATE = 0.1, 0.2, 0.2
"""Shares of starts that are Pythons of their own, that are killed from their start on, and, of the others, that may be killed after the last block."""
MOST, MOST_MERGES = 20, 2
"""Kills in a row, after which a run or a merge is left alone, and must end."""
SAID = "said.txt"
"""What all commands print, in the folder where they work."""
LONGEST = 600.0
"""Seconds after which a run that is left alone is taken not to end."""


@dataclass
class Told:
    """What was killed: by command, by how far the run had come, and in Pythons of their own."""

    commands: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    fresh: int = 0


@dataclass(frozen=True)
class Usual:
    """The undisturbed run.

    Attributes:
        files: Hashes of its files.
        first: Seconds until a block or state was kept.
        work: Seconds from then until all blocks were kept, or it ended.
        rest: Seconds from then until it ended.
    """

    files: dict[str, str]
    first: float
    work: float
    rest: float


def start(arguments: tuple[str, ...], fresh: bool = False) -> int:
    """A process that begins the command now, of a Python of its own or a fork of this one; its number."""
    said = os.open(SAID, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    if fresh:
        ends = [(os.POSIX_SPAWN_DUP2, said, number) for number in range(3)]
        child = os.posix_spawn(sys.executable, [sys.executable, "-m", "assay", *arguments], os.environ, file_actions=ends)
    else:
        child = os.fork()
    if child:
        os.close(said)
        return child
    code: object = 99
    try:
        for number in range(3):
            os.dup2(said, number)
        from assay.cli import main

        sys.argv = ["assay", *arguments]
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 99)


def ended(process: int) -> int:
    """The exit code of a process, which must end."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        gone, state = os.waitpid(process, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(state)
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    raise SystemExit(f"process {process} does not end")


def kept(folder: Path) -> tuple[set[bytes], int]:
    """What a run has kept so far: finished blocks, and when a state was kept last."""
    home = folder / "net.run" if (folder / "net.run").is_dir() else folder
    lines = {line.split(b",")[0] for path in (home / "log").glob("*.jsonl") for line in path.read_bytes().splitlines()}
    times = [0]
    with suppress(FileNotFoundError):  # A state is replaced at any time.
        times += [path.stat().st_mtime_ns for path in (home / "state").glob("*.safetensors")]
    return lines, max(times)


def standing(folder: Path) -> str:
    """How far the run has come."""
    lines, state = kept(folder)
    if len(lines) >= BLOCKS or (folder / "net.safetensors").exists():
        return ALL
    return SOME if lines or state else NOTHING


def is_over(folder: Path) -> bool:
    """Whether a training had ended and cleaned up, all but an empty folder, so that the same command finds a file that it must not overwrite."""
    return (folder / "net.safetensors").exists() and not (folder / "net.run" / "run.toml").exists()


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but those that say when it ran and on which commit."""
    dated = ("environment.json", "report.html", "net.json", "tuned.json")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in dated]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.parent.name != "log" and "lock" not in path.name
    }


def out(name: str, folder: Path) -> tuple[str, ...]:
    """The command, with where its results go."""
    return (*COMMANDS[name], "--out", str(folder / "net.safetensors" if name == "train" else folder))


def undisturbed(name: str, folder: Path) -> Usual:
    """Run the command to its end."""
    process, began, first, last = start(out(name, folder)), time.monotonic(), 0.0, 0.0
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if not first and standing(folder) != NOTHING:
            first = time.monotonic() - began
        if not last and standing(folder) == ALL:
            last = time.monotonic() - began
        time.sleep(0.002)
    if ended(process) != 0:
        raise SystemExit(f"the undisturbed {name} failed")
    whole = time.monotonic() - began
    first = first or whole / 2
    return Usual(hashes(folder), first, (last or whole) - first, whole - first)


def going_on(command: tuple[str, ...], folder: Path, moments: random.Random) -> tuple[str, ...]:
    """The same command, or, in half of the cases where there is something to go on with and no part, `assay run resume`."""
    homes = [home for home in (folder, folder / "net.run") if (home / "environment.json").exists() and (home / "run.toml").exists()]
    return ("run", "resume", str(homes[0])) if homes and "--part" not in command and moments.random() < 0.5 else command


@dataclass(frozen=True)
class Doomed:
    """When a process is killed.

    Attributes:
        seconds: After so many seconds.
        kept: From when more is kept than this; None from its start.
    """

    seconds: float
    kept: tuple[set[bytes], int] | None


@dataclass
class Killer:
    """Starts commands and kills them until as many are killed as are wanted.

    Attributes:
        kills: How many are wanted.
        moments: Draws all that is random.
        told: What was killed.
    """

    kills: int
    moments: random.Random
    told: Told = field(default_factory=Told)

    @property
    def done(self) -> int:
        """Kills so far."""
        return self.told.commands.total()

    def doom(self, usual: Usual, folder: Path) -> Doomed:
        """Draw when a process is killed."""
        if usual.rest and self.moments.random() >= EARLY:
            return Doomed(self.moments.uniform(0, usual.rest if self.moments.random() < LATE else usual.work), kept(folder))
        return Doomed(self.moments.uniform(0, usual.first), None)

    def until_all_ended(self, name: str, commands: list[tuple[str, ...]], folder: Path, usual: Usual) -> set[int]:
        """Start commands side by side, kill each at a moment of its own, and again, until all end by themselves; their exit codes."""
        codes, tries, most = set[int](), 0, MOST_MERGES if name == "merge" else MOST
        while commands:
            fresh, alone, left = self.moments.random() < FRESH, self.done >= self.kills or tries >= most, list[tuple[str, ...]]()
            dooms = [Doomed(LONGEST, None) if alone else self.doom(usual, folder) for _ in commands]
            processes = [start(going_on(one, folder, self.moments), fresh) for one in commands]
            for number, code in watched(processes, dooms, folder):
                if code == -signal.SIGKILL:
                    if is_over(folder):
                        codes.add(0)
                    else:
                        left.append(commands[number])
                    self.told.commands[name] += 1
                    self.told.moments[standing(folder)] += 1
                    self.told.fresh += fresh
                else:
                    codes.add(code)
            commands, tries = left, tries + 1
        return codes


def watched(processes: list[int], dooms: list[Doomed], folder: Path) -> Iterator[tuple[int, int]]:
    """Kill processes at their moments; gives the number and the exit code of each that has ended."""
    began, going = time.monotonic(), dict(enumerate(processes))
    since = {number: began for number, doom in enumerate(dooms) if doom.kept is None}
    while going:
        for number, process in list(going.items()):
            now, doom = time.monotonic(), dooms[number]
            gone, state = os.waitpid(process, os.WNOHANG)
            if gone:
                del going[number]
                yield number, os.waitstatus_to_exitcode(state)
            elif now >= began + LONGEST:
                raise SystemExit(f"process {process} does not end in {folder}")
            elif number not in since:
                if kept(folder) != doom.kept:
                    since[number] = now
            elif now >= since[number] + doom.seconds:
                os.kill(process, signal.SIGKILL)
        time.sleep(0.002)


def main(kills: int, seed: int) -> int:
    """Make that many kills; the number of rounds that ended otherwise."""
    import assay

    modules = (one.name for one in pkgutil.walk_packages(assay.__path__, "assay."))
    for name in (*READY, *(name for name in modules if name not in ("assay.__main__", "assay.ray"))):
        importlib.import_module(name)
    import torch
    from assay.core import environment

    torch.set_num_threads(1)
    killer, rounds, wrong = Killer(kills, random.Random(seed)), 0, 0
    moments = killer.moments
    environment.packages()  # What is installed is looked up once.
    with tempfile.TemporaryDirectory() as home, chdir(home):
        ended(start((*TRAIN, "--epochs", "1", "--out", "tiny.safetensors")))
        usual = {name: undisturbed(name, Path(home, name)) for name in COMMANDS}
        for name, one in usual.items():
            print(f"{name}: {one.first:.1f} s until something is kept, {one.work:.1f} s of work, {one.rest - one.work:.1f} s more", flush=True)  # noqa: T201
        for number in (1, 2):
            ended(start((*out("explain", Path("parts")), "--part", f"{number}/2")))
        began = time.monotonic()
        ended(start(("run", "merge", "parts")))
        merge = Usual({}, time.monotonic() - began, 0.0, 0.0)
        while killer.done < kills:
            Path(SAID).unlink(missing_ok=True)
            name, folder = moments.choice(list(COMMANDS)), Path(home, "cut")
            parts = 2 if name in PARTS and moments.random() < 0.5 else 1
            left = [(*out(name, folder), *(("--part", f"{number}/2") if parts > 1 else ())) for number in range(1, parts + 1)]
            codes = killer.until_all_ended(name if parts == 1 else f"{name} in parts", left, folder, usual[name])
            if parts > 1:
                codes |= killer.until_all_ended("merge", [("run", "merge", str(folder))], folder, merge)
            rounds += 1
            verified = 0 if name == "train" else ended(start(("run", "verify", str(folder))))
            if hashes(folder) != usual[name].files or verified or codes != {0}:
                wrong += 1
                print(f"round {rounds} ({name} in {parts}) ended otherwise: codes {codes}, verify {verified}", flush=True)  # noqa: T201
                print(Path(SAID).read_text(encoding="utf-8", errors="replace")[-3000:], flush=True)  # noqa: T201
            shutil.rmtree(folder, ignore_errors=True)
            told = killer.told
            print(f"{killer.done} kills, {told.fresh} in Pythons of their own, {rounds} rounds, {wrong} ended otherwise", flush=True)  # noqa: T201
        print(dict(killer.told.commands), dict(killer.told.moments))  # noqa: T201
    return wrong


if __name__ == "__main__":
    source = str(Path(__file__).resolve().parents[1] / "src")
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": source}
    sys.path.insert(0, source)
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(bool(main(*(numbers + [200, 0][len(numbers) :]))))
