import os

from assay.run.log import Entry, append, read_log

LINE = Entry(0, 2, {"a": "b"}, 1.0, 2.0, 0, 0, 5)


def test_a_line_is_on_the_disk_when_it_is_said_to_be_kept(tmp_path, monkeypatch):
    path = tmp_path / "rank-0.jsonl"
    synced = []
    really = os.fsync

    def note(descriptor):
        synced.append((os.path.samestat(os.fstat(descriptor), path.stat()), path.read_text()))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    append(path, LINE)
    whole = path.read_text()
    assert synced[0] == (True, whole)
    # The folder too, which has a new name in it now.
    assert [file for file, _ in synced] == [True, False]
    append(path, LINE)
    assert synced[2] == (True, path.read_text())
    assert list(read_log(tmp_path)) == [LINE, LINE]
