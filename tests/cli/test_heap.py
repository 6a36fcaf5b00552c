import subprocess
import sys

import pytest

from assay.cli.heap import _ASKED, keep_freed_memory

FAULTS = """
import resource, sys, torch
from assay.cli.heap import keep_freed_memory
assert keep_freed_memory() is (sys.argv[1] == "kept")
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    for size in (24, 23, 24, 22, 23, 24, 23, 24):
        torch.ones(1 << size)
work()
before = faults()
work()
print(faults() - before)
"""


def faults(how, monkeypatch):
    """Page faults of making and freeing eight large tensors again, in a Python of its own."""
    if how == "given back":
        monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone can be told")
def test_memory_that_was_freed_is_used_again_and_not_taken_anew(monkeypatch):
    for name in _ASKED:
        monkeypatch.delenv(name, raising=False)
    kept, anew = faults("kept", monkeypatch), faults("given back", monkeypatch)
    assert anew > 50_000
    assert kept < anew / 4


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_environment_says_of_malloc_is_left_as_it_is(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    assert keep_freed_memory() is False


@pytest.mark.parametrize(("system", "library"), [("Darwin", ""), ("Windows", ""), ("Linux", "musl")])
def test_other_systems_are_left_alone(system, library, monkeypatch):
    for name in _ASKED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.libc_ver", lambda: (library, ""))
    assert keep_freed_memory() is False
