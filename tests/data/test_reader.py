import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from assay.core.registry import register
from assay.data import HardDigits, ImageFolder, Item, read, reader
from assay.data.base import Batch, Dataset
from assay.data.reader import read_blocks, spare_cores
from assay.errors import DataError
from reference.guards import generators_untouched

BLOCKS = [[4, 0], [1, 2, 3], [], [2, 2]]


def alike(one: Batch, other: Batch):
    for field in ("images", "labels", "truth", "distractor", "index"):
        mine, yours = getattr(one, field), getattr(other, field)
        assert (mine is None) == (yours is None)
        assert mine is None or (mine.dtype == yours.dtype and torch.equal(mine, yours))
    assert (one.names, one.errors) == (other.names, other.errors)


@pytest.mark.parametrize("workers", [None, 0])
def test_blocks_come_in_order_one_batch_each(classes_folder, workers):
    dataset = ImageFolder(str(classes_folder))
    found = list(read_blocks(dataset, iter(BLOCKS), workers))
    assert [batch.index.tolist() for batch in found] == BLOCKS


def test_no_block_gives_no_batch_also_with_worker_processes(classes_folder):
    assert list(read_blocks(ImageFolder(str(classes_folder)), [], 2)) == []


def test_worker_processes_change_nothing(classes_folder):
    (classes_folder / "dog" / "c.jpeg").write_text("no picture")
    dataset = ImageFolder(str(classes_folder))
    with generators_untouched():
        found = list(read_blocks(dataset, BLOCKS, 2))
    for one, block in zip(found, BLOCKS, strict=True):
        alike(one, read(dataset, block))
    assert [len(batch.errors) for batch in found] == [0, 1, 0, 2]


@register
class Odd(Dataset):
    """Pixels that are no bytes; item 3 cannot be used, item 4 ends the process."""

    split = name = "odd"
    classes = ()

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if index == 3:
            raise DataError("item 3 is odd")
        if index == 4:
            os._exit(9)
        return Item(torch.full((3, 2, 2), 0.1 + index), None, index, str(index))

    def content_hash(self):
        return "odd"


def test_pixels_that_are_no_bytes_come_through_workers_exactly():
    (batch,) = read_blocks(Odd(), [[0]], 1)
    assert torch.equal(batch.images, torch.full((1, 3, 2, 2), 0.1))


def test_a_mistake_met_by_a_worker_is_one_plain_message():
    with pytest.raises(DataError) as told:
        list(read_blocks(Odd(), [[0], [3]], 1))
    assert str(told.value) == "item 3 is odd"


def test_a_worker_that_dies_is_told():
    with pytest.raises(DataError, match="a process that reads odd ended early"):
        list(read_blocks(Odd(), [[0], [4]], 1))


KILLED = """
import os
import psutil
from assay.data import HardDigits
from assay.data.reader import read_blocks

if __name__ == "__main__":
    batches = read_blocks(HardDigits(size=32, count=8), [[0]] * 50, 1)
    next(batches)
    print(*[one.pid for one in psutil.Process().children(recursive=True)], flush=True)
    os.kill(os.getpid(), 9)
"""


def test_workers_end_with_a_killed_reader(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    told = subprocess.run([sys.executable, script], capture_output=True, text=True).stdout
    started = [int(pid) for pid in told.split()]
    assert len(started) >= 2
    left = [psutil.Process(pid) for pid in started if psutil.pid_exists(pid)]
    assert psutil.wait_procs(left, timeout=60)[1] == []


def test_short_reads_start_no_processes(monkeypatch):
    monkeypatch.setattr("assay.data.reader._read_ahead", lambda *_: pytest.fail("processes were started"))
    assert len(list(read_blocks(HardDigits(size=32, count=8), [[0, 1]] * 4))) == 4


def test_long_reads_start_processes_after_two_blocks(monkeypatch):
    left = []

    def ahead(_, blocks, workers):
        left.append((list(blocks), workers))
        return iter(())

    monkeypatch.setattr("assay.data.reader._read_ahead", ahead)
    monkeypatch.setattr("assay.data.reader._WORTH", 0.0)
    monkeypatch.setattr("assay.data.reader.spare_cores", lambda: 2)
    list(read_blocks(HardDigits(size=32, count=8), [[0], [1], [2], [3], [4]]))
    assert left == [([[2], [3], [4]], 2)]


@pytest.mark.parametrize(("work", "started"), [(1.9, True), (2.1, False)])
def test_processes_start_only_where_reading_is_a_good_part_of_the_time(monkeypatch, work, started):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def slow(_dataset, _block):
        clock.now += 1.0

    found = []
    monkeypatch.setattr("assay.data.reader.time", clock)
    monkeypatch.setattr("assay.data.reader.read", slow)
    monkeypatch.setattr("assay.data.reader._read_ahead", lambda *_: found.append(True) or iter(()))
    monkeypatch.setattr("assay.data.reader.spare_cores", lambda: 1)
    for _ in read_blocks(HardDigits(size=32, count=8), [[0]] * 100):
        clock.now += work
    assert bool(found) is started


@pytest.mark.parametrize(
    ("took", "away", "cores", "expected"), [(1, 1.9, 16, 1), (3, 1, 16, 3), (5, 2, 16, 3), (5, 2, 2, 1), (9, 0, 64, 8)]
)
def test_as_many_processes_read_as_keep_up_with_the_work(monkeypatch, took, away, cores, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert reader._enough(took, away) == expected


@pytest.mark.parametrize(("cores", "ranks", "spare"), [(1, 1, 0), (2, 1, 1), (2, 2, 0), (8, 1, 7), (8, 4, 1), (64, 8, 7)])
def test_spare_cores_leave_one_to_the_model(monkeypatch, cores, ranks, spare):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    assert spare_cores() == spare
