import json
import os
from pathlib import Path

import pytest

from assay.cli.commands.run import check_harmless
from assay.errors import DataError

AUDIT = (
    "audit",
    "--model",
    "python:mynets:good",
    "--images",
    "pictures",
    "--block",
    "1",
    "--explainer",
    "Gradient",
    "--measure",
    "Deletion(steps=2)",
)
EXPLAIN = (
    "explain",
    "--model",
    "python:mynets:good",
    "--images",
    "pictures",
    "--weights",
    "weights.pt",
    "--explainer",
    "RandomMap",
    "--seed",
    "-3",
)


@pytest.fixture
def cut(place, run, monkeypatch):
    """`cut(folder, *command)`: a run that was interrupted after its first block."""

    def make(folder, *command):
        with monkeypatch.context() as patch:

            def interrupt(*_, **__):
                raise KeyboardInterrupt

            patch.setattr("assay.run.folder.Run.finish", interrupt)
            assert run(*command, "--out", folder).code == 130
        return place / folder

    return make


def test_status_tells_an_interrupted_run_from_a_finished_one(cut, run):
    folder = cut("out", *AUDIT)
    last = folder / "parts" / "status" / "000002.parquet"
    last.unlink()
    found = run("run", "status", "out")
    assert found.code == 0
    assert "interrupted; go on with `assay run resume`" in found.out
    assert "2 of 3 images, 2 of 3 blocks are done" in found.out
    assert "images/s in the last start" in found.out
    assert run(*AUDIT, "--out", "out").code == 0
    assert "finished" in run("run", "status", "out").out


@pytest.mark.parametrize("command", [AUDIT, (*EXPLAIN, "--no-overlays", "--maps", "zarr"), EXPLAIN], ids=["audit", "explain", "overlays"])
def test_resume_gives_the_same_command_again_from_anywhere(cut, run, place, monkeypatch, tmp_path_factory, command):
    folder = cut("out", *command)
    settings = (folder / "run.toml").read_text()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    found = run("run", "resume", folder, "--trust")
    assert found.code == 0, found.err
    assert Path.cwd().samefile(place)
    assert (folder / "run.toml").read_text() == settings
    assert (folder / "overlays").exists() == (command is EXPLAIN)
    assert len(json.loads((folder / "environment.json").read_text())["starts"]) == 2
    assert "finished" in run("run", "status", "out").out
    assert "nothing was left to do" in run("run", "resume", "out", "--trust").out


def test_verify_ends_with_1_when_something_is_wrong(run, place):
    assert run(*AUDIT, "--out", "out").code == 0
    assert run("run", "verify", "out").code == 0
    (place / "out" / "summary.csv").write_text("mine")
    found = run("run", "verify", "out")
    assert found.code == 1
    assert "wrong: summary.csv is not what was written" in found.out


def test_compare_shows_settings_means_and_differences(run, place):
    assert run(*AUDIT, "--out", "one").code == 0
    assert run(*AUDIT, "--out", "two").code == 0
    assert "identical" in run("run", "compare", "one", "two").out
    assert run(*AUDIT, "--seed", 1, "--out", "three").code == 0
    found = run("run", "compare", "one", "three")
    assert found.code == 0
    assert "seed: 0 in the first, 1 in the second" in found.out
    assert all(text in found.out for text in ("Gradient", "RandomMap", "Deletion", "difference"))


@pytest.mark.usefixtures("place")
def test_other_settings_are_refused_by_name(run):
    assert run(*AUDIT, "--out", "out").code == 0
    found = run(*AUDIT, "--out", "out", "--seed", 1, "--count", 2)
    assert (found.code, len(found.lines)) == (2, 2)
    assert found.lines[0].startswith("note: ")
    for text in ("seed is 1, there 0", "count is 2, there not set", "blocks.images is 2, there 3"):
        assert text in found.lines[1]


def test_changed_weights_and_images_are_other_settings(run, place):
    assert run(*EXPLAIN, "--out", "out").code == 0
    (place / "pictures" / "a.png").write_bytes((place / "pictures" / "b.png").read_bytes())
    found = run(*EXPLAIN, "--out", "out")
    assert found.code == 2
    assert "data.sha256 is" in found.lines[-1]


@pytest.mark.usefixtures("place")
def test_workers_are_no_setting(run):
    assert run(*AUDIT, "--out", "out").code == 0
    assert run(*AUDIT, "--out", "out", "--workers", 0).code == 0


@pytest.mark.parametrize("command", ["status", "resume", "verify"])
def test_a_folder_that_is_no_run_is_one_line(run, place, command):
    found = run("run", command, "pictures")
    assert (found.code, len(found.lines)) == (2, 1)
    assert "pictures is no run folder" in found.lines[0]


def test_resume_imports_no_code_and_changes_no_folder_that_a_run_folder_names(cut, run, place, monkeypatch, tmp_path_factory):
    folder = cut("out", *AUDIT)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    found = run("run", "resume", folder)
    assert (found.code, len(found.lines)) == (2, 1)
    assert "python:mynets:good" in found.lines[0]
    assert "--trust" in found.lines[0]
    settings = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(unsealed(settings).replace("python:mynets:good", "hard-digits"))
    found = run("run", "resume", folder)
    assert (found.code, Path.cwd()) == (2, elsewhere)
    assert f"was begun in {place}; go there, or give --trust" in found.lines[-1]


def test_another_users_folder_is_not_gone_on_with(tmp_path, monkeypatch):
    (tmp_path / "run.toml").touch()
    check_harmless(tmp_path, {})
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(DataError, match="is another user's: look at its settings, then give --trust"):
        check_harmless(tmp_path, {})


def test_resume_runs_no_command_without_an_out_of_its_own(run, place):
    assert run(*AUDIT, "--out", "out").code == 0
    path = place / "out" / "run.toml"
    path.write_text(unsealed(path.read_text()).replace('command = "audit"', 'command = "run status"'))
    found = run("run", "resume", "out", "--trust")
    assert (found.code, len(found.lines)) == (2, 1)
    assert "which this version does not have" in found.lines[0]


def test_compare_opens_the_results_and_says_which_are_not_what_was_written(run, place):
    for name in ("one", "two"):
        assert run(*AUDIT, "--out", name).code == 0
    path = place / "two" / "summary.csv"
    path.write_bytes(path.read_bytes() + b"more")
    found = run("run", "compare", "one", "two")
    assert found.code == 0
    assert "identical" not in found.out
    assert "summary.csv is not what was written in the second" in found.out
    path.unlink()
    found = run("run", "compare", "one", "two")
    assert "identical" not in found.out
    assert "summary.csv is missing in the second" in found.out


def unsealed(settings):
    """A settings file without the line of its hash, as somebody leaves it who edits it on purpose."""
    return "\n".join(line for line in settings.split("\n") if "SHA-256" not in line)


DAMAGE = {
    "torn settings": ("run.toml", lambda old: old[: old.index(b'"') + 3]),
    "settings cut off": ("run.toml", lambda old: old[: old.rindex(b"\n", 0, -1) + 1]),
    "no size": ("run.toml", lambda old: unsealed(old.decode()).encode().replace(b"size = 1", b"size = 0")),
    "negative": ("run.toml", lambda old: unsealed(old.decode()).encode().replace(b"images = 3", b"images = -3")),
    "endless": ("run.toml", lambda old: unsealed(old.decode()).encode().replace(b"images = 3", b"images = " + b"9" * 40)),
    "deep": ("run.toml", lambda _: b"a = " + b"[" * 20_000),
    "no text": ("run.toml", lambda _: bytes(range(128, 256))),
    "no command": ("run.toml", lambda _: b"assay = 3"),
    "torn environment": ("environment.json", lambda old: old[:-20]),
    "deep environment": ("environment.json", lambda _: b"[" * 200_000),
    "garbage part": ("parts/scores/000001.parquet", lambda _: b"PAR1 garbage PAR1"),
    "flipped part": ("parts/scores/000001.parquet", lambda old: old[:-20] + bytes([old[-20] ^ 255]) + old[-19:]),
    "deep log": ("log/rank-0.jsonl", lambda _: b"[" * 200_000 + b"\n"),
    "garbage log": (
        "log/rank-0.jsonl",
        lambda _: b'{"block": 0, "rows": 1, "files": {"/dev/zero": "0"}, "seconds": [], "at": 0, "start": {}, "rank": []}\n',
    ),
}


@pytest.mark.parametrize("harm", DAMAGE)
def test_a_damaged_folder_gives_one_line_for_each_command(run, place, harm):
    assert run(*AUDIT, "--out", "out").code == 0
    assert run(*AUDIT, "--out", "other").code == 0
    name, change = DAMAGE[harm]
    path = place / "out" / name
    path.write_bytes(change(path.read_bytes()))
    told = []
    for words in (("status", "out"), ("verify", "out"), ("compare", "out", "other"), ("resume", "out")):
        found = run("run", *words)
        assert found.code in (0, 1, 2), words
        assert "Traceback" not in found.err
        assert len(found.lines) == (found.code == 2), (words, found.err)
        told.append((found.code, found.out))
    assert told[1][0] in (1, 2)
    assert name == "environment.json" or "identical" not in told[2][1]


def test_settings_that_lost_their_last_lines_are_noticed_by_every_command(run, place):
    assert run(*AUDIT, "--out", "out").code == 0
    assert run(*AUDIT, "--out", "other").code == 0
    path = place / "out" / "run.toml"
    path.write_bytes(path.read_bytes()[: path.read_bytes().rindex(b"\n", 0, -1) + 1])
    for words in (("run", "status", "out"), ("run", "verify", "out"), ("run", "compare", "other", "out"), (*AUDIT, "--out", "out")):
        found = run(*words)
        assert (found.code, len(found.lines)) == (2, 1), (words, found.err)
        assert "run.toml is damaged: it is not what was written" in found.lines[0]


@pytest.mark.parametrize("content", [b"", b"PAR1 garbage PAR1", b"[" * 1000], ids=["empty", "garbage", "text"])
@pytest.mark.parametrize("table", ["status", "scores"])
def test_going_on_over_a_damaged_part_is_one_line_that_says_how_to_mend_it(run, place, table, content):
    assert run(*AUDIT, "--out", "out").code == 0
    path = place / "out" / "parts" / table / "000001.parquet"
    path.write_bytes(content)
    (place / "out" / "summary.csv").unlink()
    found = run(*AUDIT, "--out", "out")
    assert (found.code, len([line for line in found.lines if line.startswith("assay: ")])) == (2, 1), found.err
    assert f"{table}/000001.parquet" in found.lines[-1]
    assert "remove it, and the same command makes it again" in found.lines[-1]
    path.unlink()
    assert run(*AUDIT, "--out", "out").code == 0
