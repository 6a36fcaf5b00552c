import hashlib
import json
from dataclasses import replace

import polars as pl
import pytest

import assay
from assay.comparison.runs import compare_runs
from assay.errors import DataError
from assay.run.blocks import BlockContent, Blocks
from assay.run.folder import Run
from assay.run.status import first_start, status, verify
from assay.study.audit.study import AuditStudy
from assay.study.explain import ExplainStudy
from assay.study.study import Asked, run
from reference.sources import Broken, batch

ANSWERS = {"data": {"name": "mine"}}
TWO = (assay.Gradient(), assay.Lime(samples=6, segments=assay.Grid(2, 2)))
STUDY = AuditStudy(TWO, (assay.Deletion(steps=2),))


def audited(model, pixels, folder, seed=0, blocks=3, explainers=TWO, only=None, first=0):
    """A run of an audit, of all blocks or of those in `only`."""
    source, cut = Broken(batch(pixels, first=first), {1: "no image"}), Blocks.even(len(pixels), blocks)
    study, asked = replace(STUDY, explainer=explainers), Asked(model, source, seed, data={"name": "mine"})
    if only is None:
        run(study, asked, folder, settings={"seed": seed}, block=blocks)
        return folder
    with Run.open(folder, command="audit", settings={"seed": seed, **study.fields}, answers=study.record(asked), blocks=cut) as kept:
        for number, block in zip(only, asked.read(map(cut.rows, only)), strict=True):
            found = study.block(asked, block, lambda _: None)
            kept.write(number, BlockContent({**found.tables, "status": block.status(found.maps)}))
    return folder


def explained(model, pixels, folder, seed=0):
    study = ExplainStudy((assay.Gradient(), assay.RandomMap()), overlays=False)
    run(study, Asked(model, Broken(batch(pixels)), seed), folder, settings={"seed": seed}, block=2)
    return folder


@pytest.fixture
def whole(model, images, tmp_path):
    return audited(model, images(7), tmp_path / "whole")


def test_a_finished_run_is_told_and_nothing_is_wrong_with_it(whole):
    found = status(whole)
    assert (found.command, found.done, found.images, found.over, found.running, found.starts) == ("audit", 3, 7, True, False, 1)
    assert found.left == 0
    assert list(verify(whole)) == []


def test_a_run_in_the_middle_tells_what_is_left(model, images, tmp_path):
    folder = audited(model, images(7), tmp_path / "part", only=[1])
    found = status(folder)
    assert (found.done, found.images, found.over) == (1, 3, False)
    assert found.pace.images > 0
    assert found.left is None  # One block does not tell how alike blocks are.
    assert list(verify(folder)) == []
    with Run.open(folder, command="audit", settings={"seed": 0, **STUDY.fields}, answers=ANSWERS, blocks=Blocks(7, 3)) as run:
        assert status(folder).running
        run.save_state("last", {}, {})
        assert status(folder).states == ("last",)
        assert status(folder).pace is None


def test_no_run_folder_is_one_clear_error(tmp_path):
    for look in (status, lambda folder: list(verify(folder)), first_start):
        with pytest.raises(DataError, match=r"is no run folder|cannot read"):
            look(tmp_path)


@pytest.mark.parametrize("name", ["parts/scores/000001.parquet", "summary.csv", "report.html"])
@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_changed_or_missing_file_is_named_and_made_again(model, images, whole, name, harm):
    good = (whole / name).read_bytes()
    if harm == "changed":
        (whole / name).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    else:
        (whole / name).unlink()
    (found,) = verify(whole)
    assert found.startswith(f"{name} is {'not what was written' if harm == 'changed' else 'missing'}")
    (whole / name).unlink(missing_ok=True)
    audited(model, images(7), whole)
    assert (whole / name).read_bytes() == good
    assert list(verify(whole)) == []


def rewrite(folder, block, change):
    """Write a part of a run anew, its log along with it, as no kill but only a fault of the code would do."""
    path = folder / "parts" / "scores" / f"{block:06d}.parquet"
    table = change(pl.read_parquet(path))
    source, cut = folder, Blocks(7, 3)
    states = pl.read_parquet(folder / "parts" / "status" / f"{block:06d}.parquet")
    (source / "report.html").unlink()
    with Run.open(folder, command="audit", settings={"seed": 0, **STUDY.fields}, answers=ANSWERS, blocks=cut) as run:
        run.write(block, BlockContent({"scores": table, "status": states}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[1:], "image 3 has 2 scores where 3 are due"),
        (lambda table: table.filter(pl.col("image") != 4), "image 4 has 0 scores where 3 are due"),
        (lambda table: pl.concat([table, table[:1]]), "block 1 has a score twice"),
    ],
)
def test_missing_and_doubled_scores_are_named(whole, change, message):
    rewrite(whole, 1, change)
    found = list(verify(whole))
    assert message in found
    assert "block 1 was done twice with different results" in found


def test_doubled_images_are_named(model, images, tmp_path):
    folder = audited(model, images(7), tmp_path / "part", only=[0])
    table = {name: pl.read_parquet(folder / "parts" / name / "000000.parquet") for name in ("scores", "status")}
    with Run.open(folder, command="audit", settings={"seed": 0, **STUDY.fields}, answers=ANSWERS, blocks=Blocks(7, 3)) as run:
        run.write(1, BlockContent(table))
        run.write(2, BlockContent(table))
    found = list(verify(folder))
    assert "image 0 is there twice" in found
    assert "block 2 has 3 images where 1 are due" in found


def test_a_damaged_line_of_the_log_is_named(whole):
    log = whole / "log" / "rank-0.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0], lines[1][:-5], *lines[2:]]) + "\n")
    found = list(verify(whole))
    assert "rank-0.jsonl, line 2 of the log cannot be read" in found
    assert "the run is finished, but block 1 is missing" in found


def test_equal_runs_are_identical_whatever_their_reports_say(model, images, whole, tmp_path):
    other = audited(model, images(7), tmp_path / "other")
    (other / "report.html").write_text("another machine")
    found = compare_runs(whole, other)
    assert found.identical
    assert found.settings == ()
    assert all((line.difference.mean, line.difference.low, line.difference.high) == (0, 0, 0) for line in found.lines)


def test_two_runs_stand_side_by_side_on_the_images_that_both_have(model, images, whole, tmp_path):
    other = audited(model, images(7, seed=1), tmp_path / "other", seed=1, explainers=(assay.Gradient(),), first=2)
    found = compare_runs(whole, other)
    assert not found.identical
    assert [name for name, _, _ in found.settings] == ["seed", "explainer"]
    assert [(line.explainer, line.measure) for line in found.lines] == [("Gradient", "Deletion"), ("RandomMap", "Deletion")]
    assert found.alone == ("Lime(samples=6, segments=Grid(rows=2, columns=2)) by Deletion is only in the first",)
    tables = [
        pl.read_parquet(folder / "scores.parquet").pivot(on="explainer", index="image", values="value").sort("image")
        for folder in (whole, other)
    ]
    common = sorted(set(tables[0]["image"]) & set(tables[1]["image"]))
    rows = [table.filter(pl.col("image").is_in(common)) for table in tables]
    values = [table["Gradient"] - table["RandomMap"] for table in rows]  # Raw scores of two runs say little.
    line = found.lines[0]
    assert line.images == len(common) == 4  # Images 3 to 6: each run has an unreadable one of its own.
    assert (line.first.mean, line.second.mean) == pytest.approx((values[0].mean(), values[1].mean()))
    assert line.difference.mean == pytest.approx((values[1] - values[0]).mean())
    assert line.difference.low < line.difference.mean < line.difference.high


def test_two_runs_of_explain_are_compared_by_their_maps(model, images, tmp_path):
    one, two = explained(model, images(5), tmp_path / "one"), explained(model, images(5), tmp_path / "two", seed=1)
    lines = {line.explainer: line for line in compare_runs(one, two).lines}
    assert lines["Gradient"].second.mean == lines["Gradient"].first.mean > 0
    assert lines["Gradient"].difference.mean == 0
    assert lines["RandomMap"].difference.mean == pytest.approx(1, abs=0.3)
    assert compare_runs(one, explained(model, images(5), tmp_path / "three")).identical


def test_runs_of_different_commands_are_not_compared(model, images, whole, tmp_path):
    with pytest.raises(DataError, match="is a run of assay audit"):
        compare_runs(whole, explained(model, images(5), tmp_path / "one"))


def test_a_result_made_without_some_parts_is_named(whole):
    table = pl.read_parquet(whole / "scores.parquet")
    table.head(len(table) - 5).write_parquet(whole / "scores.parquet")
    log = whole / "log" / "rank-0.jsonl"
    *lines, last = log.read_text().splitlines()
    finish = json.loads(last)
    finish["files"]["scores.parquet"] = hashlib.sha256((whole / "scores.parquet").read_bytes()).hexdigest()
    log.write_text("\n".join([*lines, json.dumps(finish), ""]))
    (found,) = verify(whole)
    assert f"scores.parquet has {len(table) - 5} rows where its parts have {len(table)}" in found


def test_a_part_that_no_line_of_the_log_names_is_wrong_in_a_finished_run(whole):
    parts = whole / "parts" / "scores"
    (parts / "000009.parquet").write_bytes((parts / "000000.parquet").read_bytes())
    assert "parts/scores/000009.parquet is there, but no line of the log names it; remove it" in list(verify(whole))


def test_a_result_with_as_many_rows_but_others_is_named(whole):
    table = pl.read_parquet(whole / "scores.parquet")
    pl.concat([table[1:], table[1:2]]).write_parquet(whole / "scores.parquet")
    log = whole / "log" / "rank-0.jsonl"
    *lines, last = log.read_text().splitlines()
    finish = json.loads(last)
    finish["files"]["scores.parquet"] = hashlib.sha256((whole / "scores.parquet").read_bytes()).hexdigest()
    log.write_text("\n".join([*lines, json.dumps(finish), ""]))
    (found,) = verify(whole)
    assert found.startswith("scores.parquet has other rows than its parts")


def test_doubled_rows_of_any_table_are_named(model, images, tmp_path):
    folder, table = tmp_path / "out", pl.DataFrame({"image": [0, 1], "value": [0.5, 0.25]})
    with Run.open(folder, command="mine", settings={}, answers=ANSWERS, blocks=Blocks(4, 2)) as run:
        run.write(0, BlockContent({"certificates": pl.concat([table, table[:1]])}))
        run.write(1, BlockContent({"certificates": table}))
    found = list(verify(folder))
    assert "block 0 has a row of certificates twice" in found
    assert "image 0 is there twice in certificates" in found
