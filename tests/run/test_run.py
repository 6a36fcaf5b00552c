import errno
import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from assay.core.ranks import Ranks
from assay.errors import DataError
from assay.run.arrays import open_maps
from assay.run.begin import check_folder
from assay.run.blocks import BlockContent, Blocks
from assay.run.folder import Run
from assay.run.lock import Lock

SETTINGS = {
    "model": "python:mynets:good",
    "seed": 0,
    "sigma": 0.1,
    "count": None,
    "explainer": ["Gradient()"],
    "facts": {"mean": None, "n": 5},
}
ANSWERS = {"code": {"assay": "0"}, "machine": {}, "packages": {}, "setup": {"seed": 0}}
BLOCKS = Blocks(5, 2)


def begin(folder, **changed):
    given = {"command": "audit", "settings": SETTINGS, "answers": ANSWERS, "blocks": BLOCKS}
    return Run.open(folder, **(given | changed))


def fill(run, block):
    rows = run.blocks.rows(block)
    run.write(block, BlockContent({"rows": pl.DataFrame({"image": list(rows)})}, {"a": np.full((len(rows), 2), block, np.float32)}))


def contents(folder):
    """Every file of a run but those that tell when and where it ran."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes() for name, path in found.items() if name not in ("environment.json", "lock") and not name.startswith("log/")
    }


def test_what_was_written_is_there_at_the_next_start(tmp_path):
    with begin(tmp_path / "a" / "b") as run:
        assert (run.pending(), run.start, run.over) == ([0, 1, 2], 0, False)
        fill(run, 1)
    with begin(tmp_path / "a" / "b") as run:
        assert (run.pending(), run.start) == ([0, 2], 1)
        assert pl.concat(run.tables("rows"))["image"].to_list() == [2, 3]


def test_an_interrupted_run_ends_with_the_same_files_as_one_that_was_not(tmp_path):
    with begin(tmp_path / "whole") as run:
        for block in run.share():
            fill(run, block)
        run.merge("rows", "rows.parquet")
        run.finish(["rows.parquet"])
    with begin(tmp_path / "cut") as run:
        fill(run, 2)
    with begin(tmp_path / "cut") as run:
        for block in run.share():
            fill(run, block)
        run.merge("rows", "rows.parquet")
        run.finish(["rows.parquet"])
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")
    with begin(tmp_path / "cut") as run:
        assert run.over
        assert run.pending() == []


def test_arrays_can_be_read_while_the_run_goes_on(tmp_path):
    with begin(tmp_path) as run:
        fill(run, 2)
        found = open_maps(tmp_path)["a"]
        assert found.shape == (5, 2)
        assert np.isnan(found[:4]).all()
        assert (found[4:] == 2).all()
        fill(run, 0)
        assert (open_maps(tmp_path)["a"][:2] == 0).all()


def test_a_block_whose_file_is_gone_is_done_again(tmp_path):
    with begin(tmp_path) as run:
        fill(run, 0)
        fill(run, 1)
    (tmp_path / "parts" / "rows" / "000001.parquet").unlink()
    with begin(tmp_path) as run:
        assert run.pending() == [1, 2]


@pytest.mark.parametrize("torn", ['{"block": 1, "ro', "x", '{"block": 1}\n', "[1]\n"])
def test_a_torn_line_of_the_log_is_passed_over_and_does_not_spoil_the_next(tmp_path, torn):
    with begin(tmp_path) as run:
        fill(run, 0)
    with (tmp_path / "log" / "rank-0.jsonl").open("a") as log:
        log.write(torn)
    with begin(tmp_path) as run:
        assert run.pending() == [1, 2]
        fill(run, 1)
    with begin(tmp_path) as run:
        assert run.pending() == [2]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    with begin(tmp_path) as run:
        fill(run, 0)
    draft = tmp_path / "parts" / "rows" / ".000001.123-00ff00ff.part.parquet"
    draft.write_text("half")
    (tmp_path / ".notes.part").write_text("mine")
    with begin(tmp_path):
        assert not draft.exists()
        assert (tmp_path / ".notes.part").exists()


def test_a_first_start_that_fails_leaves_nothing_and_a_later_one_what_is_done(tmp_path):
    def fail(blocks):
        with begin(tmp_path) as run:
            for block in blocks:
                fill(run, block)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail([])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        fail([1])
    with begin(tmp_path) as run:
        assert run.pending() == [0, 2]


CHANGES = [
    ({"settings": SETTINGS | {"seed": 1}}, "other settings: seed is 1, there 0; give"),
    ({"settings": SETTINGS | {"count": 4}}, "count is 4, there not set"),
    ({"settings": SETTINGS | {"explainer": ["Lime()"]}}, r'explainer is \["Lime\(\)"\], there \["Gradient\(\)"\]'),
    ({"settings": SETTINGS | {"seed": 1, "sigma": 0.2}}, r"seed is 1, there 0; sigma is 0\.2, there 0\.1"),
    ({"settings": SETTINGS | {"facts": {"n": 6}}}, r"facts\.n is 6, there 5"),
    ({"blocks": Blocks(6, 2)}, r"blocks\.images is 6, there 5"),
    ({"command": "explain"}, "holds a run of assay audit, not of assay explain"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_a_run_of_other_settings_is_refused_with_both_values(tmp_path, change, message):
    with begin(tmp_path) as run:
        fill(run, 0)
    before = contents(tmp_path)
    with pytest.raises(DataError, match=message), begin(tmp_path, **change):
        pass
    assert contents(tmp_path) == before


def test_a_run_of_another_version_is_refused(tmp_path, monkeypatch):
    with begin(tmp_path) as run:
        fill(run, 0)
    monkeypatch.setattr("assay.run.begin.version", lambda _: "9.9.9")
    with pytest.raises(DataError, match=r"was begun by assay .*, and this is 9\.9\.9"), begin(tmp_path):
        pass


def test_a_folder_of_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"already holds thesis\.txt and is no run of assay"), begin(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot make the folder"), begin(tmp_path / "file"):
        pass


def test_damaged_settings_are_one_clear_error(tmp_path):
    (tmp_path / "run.toml").write_text("= =")
    with pytest.raises(DataError, match=r"run\.toml is damaged"), begin(tmp_path):
        pass


def test_a_second_run_on_one_folder_is_refused_until_the_first_ends(tmp_path):
    with begin(tmp_path) as run:
        with pytest.raises(DataError, match=f"is in use by process {os.getpid()} on "), begin(tmp_path):
            pass
        fill(run, 0)
    with begin(tmp_path) as run:
        assert run.pending() == [1, 2]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("at", range(5))
def test_a_full_disk_is_one_clear_error_and_the_run_goes_on_when_there_is_room(tmp_path, monkeypatch, code, at):
    with begin(tmp_path) as run:
        fill(run, 0)
        sync, left = os.fsync, [at]

        def full(descriptor):
            if not left[0]:
                raise OSError(code, os.strerror(code))
            left[0] -= 1
            sync(descriptor)

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(DataError, match=r"the disk of .* is full; free some and start the same command again: 1 of 3 blocks are done"):
            fill(run, 1)
        monkeypatch.undo()
    with begin(tmp_path) as run:
        assert 0 not in run.pending()
        for block in run.pending():
            fill(run, block)
        assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]
        assert pl.concat(run.tables("rows"))["image"].to_list() == [0, 1, 2, 3, 4]


def test_other_troubles_of_the_disk_are_named(tmp_path, monkeypatch):
    def broken(_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with begin(tmp_path) as run:
        monkeypatch.setattr("os.fsync", broken)
        with pytest.raises(DataError, match=r"cannot write in the folder .*: Read-only file system"):
            fill(run, 1)
        monkeypatch.undo()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot write in the folder"), begin(tmp_path):
        pass


def test_each_start_is_written_down_and_the_first_ones_answers_stay(tmp_path):
    for seed in (0, 1):
        with begin(tmp_path, answers=lambda seed=seed: ANSWERS | {"setup": {"seed": seed}}) as run:
            assert run.answers == ANSWERS
            fill(run, seed)
    kept = json.loads((tmp_path / "environment.json").read_text())
    assert len(kept["starts"]) == 2
    assert kept["setup"] == {"seed": 0}
    assert all(start["directory"] == str(Path.cwd()) for start in kept["starts"])


def test_processes_share_the_blocks_that_are_left(tmp_path):
    with begin(tmp_path) as run:
        fill(run, 1)
    with begin(tmp_path) as run:
        run.ranks = Ranks(1, 2)
        assert run.share() == [2]


def test_a_state_is_kept_whole_and_replaced(tmp_path):
    weights = torch.arange(3.0)
    with begin(tmp_path, blocks=None, command="train") as run:
        assert run.load_state("last") is None
        for epoch in (1, 2):
            run.save_state(
                "last",
                {"w": weights * epoch, "tied": weights, "same": weights, "n": torch.tensor(7)},
                {"epoch": epoch, "loss": [0.1, None]},
            )
        tensors, values = run.load_state("last")
    assert values == {"epoch": 2, "loss": [0.1, None]}
    assert torch.equal(tensors["w"], weights * 2)
    assert tensors["n"].dtype == torch.int64
    with begin(tmp_path, blocks=None, command="train") as run:
        assert run.load_state("last")[1]["epoch"] == 2


def test_a_damaged_state_is_one_clear_error(tmp_path):
    with begin(tmp_path) as run:
        run.save_state("last", {}, {"epoch": 1})
        assert run.load_state("last") == ({}, {"epoch": 1})
        path = tmp_path / "state" / "last.safetensors"
        path.write_bytes(path.read_bytes()[:10])
        with pytest.raises(DataError, match="is damaged"):
            run.load_state("last")


def test_results_are_not_complete_before_every_block_is(tmp_path):
    with begin(tmp_path) as run:
        for block in (0, 2):
            fill(run, block)
        run.merge("rows", "rows.parquet")
        with pytest.raises(RuntimeError, match="before 1 block ended, the first 1"):
            run.finish(["rows.parquet"])
    with begin(tmp_path) as run:
        assert (run.over, run.pending()) == (False, [1])


STRANGE = [".git/config", ".env", ".ssh/id_rsa", "log/mine.txt", "environment.json", "lock", "state/mine.safetensors"]


@pytest.mark.parametrize("name", STRANGE)
def test_a_folder_with_anything_in_it_is_refused_and_a_failed_start_touches_nothing(tmp_path, name):
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(DataError, match="is no run of assay"), begin(tmp_path):
        raise KeyboardInterrupt
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def interrupted(folder, work=None):
    with pytest.raises(KeyboardInterrupt), begin(folder) as run:  # noqa: PT012
        if work:
            work(run)
        raise KeyboardInterrupt


def test_a_failed_first_start_removes_the_folders_that_it_made_and_no_others(tmp_path):
    (tmp_path / "there").mkdir()
    interrupted(tmp_path / "there" / "new" / "newer")
    assert list((tmp_path / "there").iterdir()) == []
    interrupted(tmp_path / "there")
    assert (tmp_path / "there").is_dir()


def test_a_failed_first_start_leaves_what_others_put_there_meanwhile(tmp_path):
    names = ["notes.txt", "log/notes.txt", "parts/rows/notes.txt"]

    def work(run):
        for name in names:
            (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (run.folder / name).write_text("mine")

    interrupted(tmp_path / "out", work)
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("*") if path.is_file()) == sorted(names)


def test_a_block_that_was_written_in_part_is_removed_with_the_first_start(tmp_path, monkeypatch):
    def work(run):
        monkeypatch.setattr("assay.run.folder.append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        fill(run, 0)

    interrupted(tmp_path / "out", work)
    assert not (tmp_path / "out").exists()


def test_a_start_that_was_killed_before_its_settings_does_not_bar_the_next(tmp_path):
    (tmp_path / "lock").write_text("process 1 on elsewhere\n")
    (tmp_path / ".run.1-00ff00ff.part.toml").write_text("half")
    with begin(tmp_path) as run:
        fill(run, 0)
    assert not list(tmp_path.glob("*.part*"))


def test_a_lock_on_a_file_that_a_failed_start_removed_does_not_count(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    late = Lock(path)
    acquire = late._lock.acquire

    def slow():  # A start that fails removes the file after the late one has opened it.
        monkeypatch.undo()
        acquire()
        path.unlink()

    monkeypatch.setattr(late._lock, "acquire", slow)
    late.take()
    with pytest.raises(DataError, match="in use"):
        Lock(path).take()
    late.release()


def test_checking_a_folder_makes_nothing(tmp_path):
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        check_folder(tmp_path / "file" / "b")


def test_a_finished_run_discards_its_own_files_alone(tmp_path):
    with begin(tmp_path / "out", blocks=None, command="train") as run:
        run.save_state("last", {}, {"epoch": 1})
        (tmp_path / "out" / "notes.txt").write_text("mine")
        run.finish(())
        run.discard()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
