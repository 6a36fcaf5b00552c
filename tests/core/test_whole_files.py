import errno
import os
from pathlib import Path

import pytest

from assay.core.whole_files import is_full, printable, remove_drafts, replacing, write_all


def test_a_file_takes_its_place_when_the_block_ends_well(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as draft:
        assert draft.suffix == ".txt"
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_stays_as_it_was_when_the_block_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted():
        with replacing(path) as draft:
            draft.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_several_files_are_written_below_a_folder(tmp_path):
    write_all(tmp_path, {"a/b/c.bin": b"1", "a/d.bin": b"2", "e": b"3"})
    found = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"a/b/c.bin": b"1", "a/d.bin": b"2", "e": b"3"}


def test_every_file_is_on_the_disk_before_it_gets_its_name_and_its_folder_after(tmp_path, monkeypatch):
    events = []
    sync, rename = os.fsync, os.replace

    def fsync(descriptor):
        events.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.replace", lambda one, two: (events.append(("rename", str(two))), rename(one, two)))
    write_all(tmp_path, {"a/one": b"1"})
    kinds = [kind for kind, _ in events]
    assert kinds[:2] == ["sync", "rename"]
    assert {place for kind, place in events[2:]} == {str(tmp_path), str(tmp_path / "a")}


def test_a_full_disk_leaves_no_draft(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_all(tmp_path, {"a": b"1"})
    assert list(tmp_path.iterdir()) == []


def test_only_drafts_of_killed_processes_are_removed(tmp_path):
    kept = [".a.part", "a.12-00ff00ff.part.txt", ".profile", ".a.12.part"]
    for name in (*kept, ".a.12-00ff00ff.part.txt", ".b.7-0123abcd.part"):
        (tmp_path / name).write_text("")
    remove_drafts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (RuntimeError("No space left on device (os error 28)"), True),
        (OSError(errno.EACCES, "x"), False),
    ],
)
def test_a_full_disk_is_known_by_number_or_words(error, full):
    assert is_full(error) is full


def test_one_file_is_on_the_disk_before_it_takes_its_place_and_its_name_after(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        "assay.core.whole_files.os.fsync", lambda opened: synced.append((os.fstat(opened).st_ino, (tmp_path / "x").exists()))
    )
    with replacing(tmp_path / "x") as draft:
        draft.write_text("a")
        inode = draft.stat().st_ino
    assert synced == [(inode, False), (tmp_path.stat().st_ino, True)]


@pytest.mark.parametrize(
    ("text", "shown"), [("a é 日", "a é 日"), ("\x1b[31mred", r"\x1b[31mred"), ("a\nb\x07", r"a\nb\x07"), ("\u202e", r"\u202e")]
)
def test_what_steers_a_terminal_is_written_as_an_escape(text, shown):
    assert printable(text) == shown
