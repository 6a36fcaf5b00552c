import threading

import pytest
import torch

import assay
from assay.core.ranks import Ranks
from assay.errors import DataError, SpecError
from assay.run.blocks import ArrayPart, Blocks
from assay.run.folder import Run
from assay.run.lock import Lock, held_parts
from assay.run.log import FINISH, Entry, Pace, read_log
from assay.run.status import status, verify
from assay.study.explain import ExplainStudy
from assay.study.study import Asked, run
from reference.sources import Broken, batch

STUDY = ExplainStudy((assay.Gradient(),), overlays=False)
RESULTS = ("predictions.csv", "status.csv")


def explained(model, pixels, folder, part=None, study=STUDY):
    return run(study, Asked(model, Broken(batch(pixels), {2: "torn"}), 0), folder, settings={"seed": 0}, block=2, part=part)


def opened(folder, part=None, seed=0):
    return Run.open(folder, command="mine", settings={"seed": seed}, answers={}, blocks=Blocks(10, 1), part=part)


@pytest.mark.parametrize(
    ("text", "environment", "part"),
    [
        ("3/8", {}, ArrayPart(3, 8)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "8"}, ArrayPart(5, 8)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "8"}, ArrayPart(1, 8)),
        ("auto/4", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_STEP": "2"}, ArrayPart(4, 4)),
        ("auto/3", {"JOB_COMPLETION_INDEX": "2"}, ArrayPart(3, 3)),
    ],
)
def test_a_part_is_read_from_a_word_or_from_the_schedulers_variables(text, environment, part):
    assert ArrayPart.read(text, environment) == part


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("0/8", {}, "not 0/8"),
        ("9/8", {}, "not 9/8"),
        ("3", {}, "I/N, such as 3/8"),
        ("-1/8", {}, "I/N, such as 3/8"),
        ("auto", {}, "SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX"),
        ("auto", {"JOB_COMPLETION_INDEX": "2"}, "how many parts there are"),
        ("auto/2", {"JOB_COMPLETION_INDEX": "2"}, "not 3/2"),
    ],
)
def test_what_names_no_part_is_refused(text, environment, message):
    with pytest.raises(SpecError, match=message):
        ArrayPart.read(text, environment)


@pytest.mark.parametrize(("blocks", "count"), [(10, 3), (2, 5), (7, 7)])
def test_parts_have_every_block_once_whatever_was_done_before(blocks, count):
    shares = [ArrayPart(number, count).share(range(blocks)) for number in range(1, count + 1)]
    assert sorted(block for share in shares for block in share) == list(range(blocks))
    left = list(range(0, blocks, 2))
    assert [ArrayPart(number, count).share(left) for number in range(1, count + 1)] == [
        [one for one in share if one in left] for share in shares
    ]


def test_parts_in_any_order_and_twice_come_to_the_bits_of_one_run(model, images, tmp_path):
    pixels = images(7)
    explained(model, pixels, tmp_path / "whole")
    folder = tmp_path / "parts"
    told = explained(model, pixels, folder, ArrayPart(2, 2))
    assert told.said == ("part 2 of 2 is done: 2 of 4 blocks are missing",)
    with pytest.raises(DataError, match=r"cannot be merged: 2 of 4 blocks are missing, the first 0"):
        explained(model, pixels, folder, "merge")
    assert explained(model, pixels, folder, ArrayPart(2, 2)).said == told.said
    assert not any((folder / name).exists() for name in RESULTS)
    assert "assay run merge" in explained(model, pixels, folder, ArrayPart(1, 2)).said[0]
    report = explained(model, pixels, folder, "merge")
    assert report.found() is not None
    for name in RESULTS:
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    parts = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("maps.zarr/**/*") if path.is_file()}
    assert parts
    assert all((tmp_path / "whole" / name).read_bytes() == content for name, content in parts.items())
    assert list(verify(folder)) == []
    assert sorted(path.name for path in (folder / "log").iterdir()) == ["part-1-of-2.jsonl", "part-2-of-2.jsonl", "rank-0.jsonl"]
    assert explained(model, pixels, folder, ArrayPart(1, 2)).over


def test_what_a_killed_part_had_kept_is_not_done_again(model, images, tmp_path):
    class KilledError(Exception):
        """Stands for a kill between two blocks."""

    class Fatal(ExplainStudy):
        def block(self, asked, block, tell):
            if block.rows.start >= 4:
                raise KilledError
            return super().block(asked, block, tell)

    pixels = images(7)
    with pytest.raises(KilledError):
        explained(model, pixels, tmp_path, ArrayPart(1, 2), Fatal((assay.Gradient(),), overlays=False))
    assert [line.block for line in read_log(tmp_path / "log")] == [0]
    explained(model, pixels, tmp_path, ArrayPart(1, 2))
    assert [line.block for line in read_log(tmp_path / "log")] == [0, 2]


def test_ranks_and_the_same_part_twice_and_a_run_of_all_are_kept_apart(tmp_path):
    with opened(tmp_path, ArrayPart(1, 3)) as one, opened(tmp_path, ArrayPart(2, 3)) as two:
        assert (one.share(), two.share()) == ([0, 3, 6, 9], [1, 4, 7])
        assert [path.name for path in held_parts(tmp_path)] == ["lock-part-1-of-3", "lock-part-2-of-3"]
        assert status(tmp_path).parts == ("part-1-of-3", "part-2-of-3")
        assert status(tmp_path).running
        with pytest.raises(DataError, match=r"in use by process \d+"), opened(tmp_path, ArrayPart(1, 3)):
            pass
        with pytest.raises(DataError, match="in use by part-1-of-3, part-2-of-3"), opened(tmp_path):
            pass
        with pytest.raises(DataError, match="seed is 1, there 0"), opened(tmp_path, ArrayPart(3, 3), seed=1):
            pass
    assert not held_parts(tmp_path)
    assert not status(tmp_path).running
    with opened(tmp_path) as whole:
        assert whole.share() == list(range(10))
        assert whole.ranks == Ranks()


def test_processes_and_parts_have_as_many_blocks_of_each_kind_whatever_was_done_before(tmp_path):
    kinds = "aabaabaaba"
    with opened(tmp_path, ArrayPart(1, 2)) as one, opened(tmp_path, ArrayPart(2, 2)) as two:
        shares = [one.share(kinds.__getitem__), two.share(kinds.__getitem__)]
        assert shares == [[0, 3, 5, 6, 9], [1, 2, 4, 7, 8]]
        one.done = frozenset({0, 1, 5})
        assert one.share(kinds.__getitem__) == [3, 6, 9]
    with opened(tmp_path) as whole:
        whole.ranks = Ranks(1, 2)
        assert whole.share(kinds.__getitem__) == shares[1]
        assert whole.share() == [1, 3, 5, 7, 9]


def test_a_part_is_refused_beside_a_run_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr("assay.run.lock._GRACE", 0.0)
    with opened(tmp_path), pytest.raises(DataError, match="in use by process"), opened(tmp_path, ArrayPart(1, 2)):
        pass


def test_parts_that_begin_at_once_wait_for_each_other(tmp_path):
    starts, failed = [], []

    def begin(number):
        try:
            with opened(tmp_path, ArrayPart(number, 6)) as run:
                starts.append(run.start)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sorted(starts) == list(range(6))


def test_a_failing_part_leaves_what_others_may_have_begun_in(tmp_path):
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "out", ArrayPart(1, 2)):
        raise KeyboardInterrupt
    assert (tmp_path / "out" / "run.toml").exists()
    lock = Lock(tmp_path / "out" / "lock")
    lock.take()
    lock.release()


def lines(*costs, rank=0, passes=20, rows=2):
    return [Entry(block, rows, {}, seconds, 0.0, 0, rank, passes) for block, seconds in enumerate(costs)]


def test_the_time_left_is_told_from_passes_and_only_where_it_is_sure():
    assert Pace.of([]) is None
    assert Pace.of([Entry(FINISH, 0, {}, 3.0, 0.0, 0, 0, 0)]) is None
    alone = Pace.of(lines(10.0))
    assert (alone.images, alone.work, alone.each, alone.doubt) == (0.2, 2.0, 10.0, float("inf"))
    even = Pace.of(lines(10.0, 10.1, 9.9, 10.0))
    assert even.doubt < 0.05
    assert even.left(8) == pytest.approx(40.0)
    assert Pace.of(lines(1.0, 30.0, 4.0)).doubt > 0.3
    # Half of the images took four times the passes: what is left is told by the passes of the mean image.
    uneven = Pace.of([*lines(10.0, 10.0, passes=20), *lines(40.0, 40.0, passes=80)])
    assert uneven.doubt == pytest.approx(0.0, abs=1e-9)
    assert uneven.left(2) == pytest.approx(25.0)
    two = Pace.of([*lines(10.0, 10.0), *lines(10.0, 10.0, rank=1)])
    assert two.left(8) == pytest.approx(20.0)
    assert Pace.of(lines(10.0, 10.0, passes=0)).left(2) == pytest.approx(10.0)


def test_few_images_are_cut_so_that_a_kill_costs_little():
    assert [(len(cut), cut.size) for cut in map(Blocks.usual, (1, 8, 40, 100, 512, 10_000))] == [
        (1, 1), (1, 8), (5, 8), (8, 13), (8, 64), (157, 64),
    ]  # fmt: skip
    assert len(Blocks.usual(40, least=16)) == 3
    assert torch.arange(40)[Blocks.usual(40).rows(4).start] == 32
