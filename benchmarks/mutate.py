"""Break the code in named ways, one at a time, and see that the tests which guard it fail.

python benchmarks/mutate.py [NAME ...]

Each mutation of `mutations.py` replaces one text of one source file, in a copy of the tree, and runs the tests named beside it. It is
caught where a test fails or does not end, and where the test that failed passes without it; where all pass it has survived, and what it breaks is not tested.
Names, or parts of them, or folders choose some of the mutations. Results go to `mutate.json`, of some beside those of the others; exit code 1 tells that less
than 97 % were caught, or that a mutation could not be made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil
from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_suffix(".json")
LONGEST = 600.0
"""Seconds of computing after which the tests are taken not to end: on a busy machine an hour may pass meanwhile."""
DUE = 0.97
READY = ("torch", "torchvision", "polars", "zarr", "pydantic", "jinja2", "timm", "scipy.stats", "sklearn.linear_model", "skimage.segmentation", "matplotlib.pyplot", "pytest")
"""Imported once for all runs, which are forks of this process; nothing that starts threads may be among them."""


def place(tree: Path, mutation: Mutation) -> Path:
    """The file that holds the mutation's old text, once.

    Raises:
        LookupError: There is none, or several.
    """
    files = [path for path in (tree / "src/assay" / mutation.folder).rglob("*.py") if mutation.old in path.read_text(encoding="utf-8")]
    if len(files) != 1 or files[0].read_text(encoding="utf-8").count(mutation.old) != 1:
        raise LookupError(f"{mutation.name}: the text to replace is {len(files)} times in {mutation.folder}")
    return files[0]


def guards(tree: Path, mutation: Mutation) -> list[str]:
    """The tests that guard it, as pytest takes them; files are named without their folders.

    Raises:
        LookupError: There is no such file.
    """
    found = []
    for word in mutation.tests.split():
        file, colon, test = word.partition("::")
        paths = list((tree / "tests").rglob(file))
        if len(paths) != 1:
            raise LookupError(f"{mutation.name}: there is no test file {file}")
        found.append(f"{paths[0].relative_to(tree)}{colon}{test}")
    return found


def tried(tree: Path, tests: list[str], longest: float = LONGEST) -> tuple[str, str]:
    """How the tests end in the tree, "passed", "failed", "endless" or "broken", and the end of what they print."""
    log = tree / "output.txt"
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        _run(tree, tests, log)
    code = None
    while code is None and _computed(child) < longest:
        ended, state = os.waitpid(child, os.WNOHANG)
        code = os.waitstatus_to_exitcode(state) if ended else None
        time.sleep(0.1)
    if code is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    said = log.read_text(encoding="utf-8", errors="replace")[-1500:]
    return {0: "passed", 1: "failed", None: "endless"}.get(code, "broken"), said


def sound(tree: Path, tests: list[str], said: str) -> bool:
    """Whether the test that failed, by what pytest said, passes in the tree; where none is named, all of them."""
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)
    return tried(tree, failed[:1] or tests)[0] == "passed" or (bool(failed) and tried(tree, tests)[0] == "passed")


def _computed(child: int) -> float:
    """Seconds that a process and its ended children have computed."""
    try:
        return sum(psutil.Process(child).cpu_times()[:4])
    except psutil.Error:
        return 0.0


def _run(tree: Path, tests: list[str], log: Path) -> None:
    """In the fork: run the tests and end."""
    code = 99
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(tree)
        os.environ["PYTHONPATH"] = str(tree / "src")
        sys.path.insert(0, str(tree / "src"))
        import pytest

        # Plugins that READY brought along cannot be rewritten any more.
        quiet = ("-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
        code = int(pytest.main([*quiet, *tests]))
    finally:
        sys.stdout.flush()
        os._exit(code)


def main(words: list[str]) -> int:
    """Try the mutations whose names have one of the words in them, or all."""
    chosen = [one for one in MUTATIONS if not words or any(word in one.name or word == one.folder for word in words)]
    for name in READY:
        __import__(name)
    found = {} if not words or not RESULTS.exists() else json.loads(RESULTS.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as home:
        tree = Path(home)
        for name in ("src", "tests", "docs"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
            shutil.copy2(ROOT / name, tree / name)
        for number, mutation in enumerate(chosen):
            began = time.monotonic()
            try:
                path, tests = place(tree, mutation), guards(tree, mutation)
            except LookupError as error:
                outcome, said = "not made", str(error)
            else:
                text, before = path.read_text(encoding="utf-8"), path.stat()
                path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
                os.utime(path, (before.st_mtime + number + 1,) * 2)  # No compiled file of another text may count as this one's.
                try:
                    outcome, said = tried(tree, tests)
                finally:
                    path.write_text(text, encoding="utf-8")
                    os.utime(path, (before.st_atime, before.st_mtime))
                if outcome == "failed" and not sound(tree, tests, said):
                    outcome, said = "not made", "its tests fail without it too"
            found[mutation.name] = outcome
            RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(f"{outcome:8} {time.monotonic() - began:5.0f} s  {mutation.name}", flush=True)  # noqa: T201
            if outcome not in ("failed", "endless"):
                print(said, flush=True)  # noqa: T201
    found = {one.name: found[one.name] for one in MUTATIONS if one.name in found}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    caught = sum(outcome in ("failed", "endless") for outcome in found.values())
    survivors = [name for name, outcome in found.items() if outcome not in ("failed", "endless")]
    print(f"{caught} of {len(found)} mutations are caught ({caught / len(found):.1%}); not caught: {'; '.join(survivors) or 'none'}")  # noqa: T201
    return int(caught < DUE * len(found) or any(outcome in ("not made", "broken") for outcome in found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
