import pytest

EXPLAIN = ("explain", "--model", "python:mynets:good", "--images", "pictures", "--block", "1", "--explainer", "Gradient")


def results(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "log" and path.name not in ("environment.json", "report.html") and "lock" not in path.name
    }


def test_parts_and_a_merge_give_the_files_of_one_run(place, run, monkeypatch):
    assert run(*EXPLAIN, "--out", "whole").code == 0
    first = run(*EXPLAIN, "--out", "out", "--part", "2/2")
    assert first.code == 0, first.err
    assert "part 2 of 2 is done: 2 of 3 blocks are missing" in first.out
    assert "1 of 3 images, 1 of 3 blocks are done" in run("run", "status", "out").out
    early = run("run", "merge", "out", "--trust")
    assert early.code == 2
    assert "cannot be merged: 2 of 3 blocks are missing, the first 0" in early.lines[-1]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    assert "end the run by `assay run merge out`" in run(*EXPLAIN, "--out", "out", "--part", "auto").out
    merged = run("run", "merge", "out", "--trust")
    assert merged.code == 0, merged.err
    assert "3 images explained" in merged.out
    assert results(place / "out") == results(place / "whole")
    assert run("run", "verify", "out").code == 0
    assert "nothing was left to do" in run(*EXPLAIN, "--out", "out", "--part", "1/2").out


@pytest.mark.parametrize("part", ["0/2", "3/2", "two", "1", "auto"])
def test_a_part_that_cannot_be_is_one_line_before_any_work(place, run, part):
    found = run(*EXPLAIN, "--out", "out", "--part", part)
    assert (found.code, len(found.lines)) == (2, 1)
    assert "part" in found.err
    assert not (place / "out").exists()


def test_a_run_of_something_without_parts_is_not_merged(place, run):
    (place / "out").mkdir()
    (place / "out" / "run.toml").write_text('command = "tune"\nassay = "0.1.0"\n[blocks]\n[settings]\n')
    (place / "out" / "environment.json").write_text(f'{{"starts": [{{"directory": "{place}"}}]}}')
    found = run("run", "merge", "out")
    assert (found.code, len(found.lines)) == (2, 1)
    assert "a run of assay tune, which has no parts" in found.err
