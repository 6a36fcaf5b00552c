"""What is in a folder, a file or a spec that nobody would make on purpose: one line, exit code 2, nothing else lost."""

import os
import shutil
import sys
import tarfile

import polars as pl
import pytest

BASE = {"--model": "python:mynets:good", "--images": "pictures", "--out": "out", "--explainer": "Gradient"}


def words(**change):
    given = BASE | {f"--{name}": value for name, value in change.items()}
    return [word for name, value in given.items() for word in (name, value)]


def refused(found, message):
    lines = [line for line in found.lines if not line.startswith(("explain: ", "note: "))]
    assert found.code == 2, found.err
    assert len(lines) == 1, found.err
    assert lines[0].startswith("assay: ")
    assert message in lines[0]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_are_shown_as_escapes_and_the_images_explained(place, run):
    strange = os.fsencode(place / "pictures") + b"/\xff\x1b[2J.png"
    shutil.copy(place / "pictures" / "a.png", strange)
    with open(os.fsencode(place / "pictures") + b"/\xfe.png", "wb"):  # noqa: PTH123  (bytes)
        pass
    found = run("explain", *words())
    assert found.code == 0, found.err
    status = pl.read_csv("out/status.csv")
    named = {name: state for name, state in zip(status["name"], status["status"], strict=True) if "\\" in name}
    assert {state for name, state in named.items() if "1b" in name} == {"ok"}
    assert len(named) == 2
    assert sum(state.startswith("cannot be read") for state in named.values()) == 1
    assert "\x1b" not in (place / "out" / "status.csv").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_no_text_is_refused(place, run):
    shutil.copytree(place / "pictures", os.fsdecode(os.fsencode(place) + b"/\xff"))
    refused(run("explain", *words(images=os.fsdecode(b"\xff"))), "no text in UTF-8")


def test_a_sparse_member_of_a_tar_file_is_an_image_that_cannot_be_read(place, run):
    with tarfile.open(place / "own.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("a", "b"):
            archive.add(place / "pictures" / f"{name}.png", f"{name}.png")
        member = tarfile.TarInfo("c.png")
        member.type, member.size = tarfile.GNUTYPE_SPARSE, 0
        archive.addfile(member)
    found = run("explain", *words(images="own.tar"))
    assert found.code == 0, found.err
    status = dict(pl.read_csv("out/status.csv").select("name", "status").iter_rows())
    assert (status["a.png"], status["b.png"]) == ("ok", "ok")
    assert "sparse" in status["c.png"]


@pytest.mark.parametrize("place_of_damage", ["end", "middle", "everywhere"])
def test_a_damaged_parquet_file_is_told(place, run, place_of_damage):
    images = [{"bytes": (place / "pictures" / f"{name}.png").read_bytes(), "path": None} for name in "abc"]
    pl.DataFrame({"image": images, "label": [0, 1, 0]}).write_parquet("own.parquet")
    whole = bytearray((place / "own.parquet").read_bytes())
    wrong = {"end": range(len(whole) - 40, len(whole) - 8), "middle": range(60, 90), "everywhere": range(4, len(whole) - 8)}
    for at in wrong[place_of_damage]:
        whole[at] ^= 0x55
    (place / "own.parquet").write_bytes(whole)
    found = run("explain", *words(images="own.parquet"))
    # Parquet has no checksum that is always there: a few wrong bytes of a page may be a few wrong pixels.
    assert found.code == 2 or place_of_damage == "middle"
    assert "Traceback" not in found.err
    if found.code:
        assert found.lines[-1].startswith("assay: ")
        assert "own.parquet" in found.lines[-1]


@pytest.mark.parametrize(
    ("explainer", "message"),
    [
        ("SmoothGrad(samples=99999999999999999999)", "more than 64 bits"),
        ("SmoothGrad(sigma=1" + "0" * 400 + ")", "more than 64 bits"),
        ("SmoothGrad(samples=4000000000000*4000000000000)", "more than 64 bits"),
        ("SmoothGrad(samples=1" + "0" * 5000 + ")", "cannot read the spec"),
        ("Lime(samples=4000000000000000000)", ""),
    ],
)
def test_numbers_that_no_machine_holds_are_refused(place, run, explainer, message):
    refused(run("explain", *words(explainer=explainer)), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": "~nosuchuser/pictures"}, "a user who has no home folder here"),
        ({"images": "x" * 5000}, "File name too long"),
        ({"out": "x" * 300 + "/out"}, "File name too long"),
        ({"device": "meta"}, "cannot use --device meta"),
        ({"size": "1000000000"}, ""),
    ],
)
def test_places_devices_and_sizes_that_cannot_be_are_refused(place, run, change, message):
    refused(run("explain", *words(**change)), message)


def test_a_torn_environment_of_a_run_is_told(place, run):
    assert run("explain", *words()).code == 0
    (place / "out" / "environment.json").write_text('{"starts": 3}')
    (place / "out" / "status.csv").unlink()
    refused(run("explain", *words()), "environment.json")


def test_lines_of_a_log_that_lead_out_of_the_folder_count_for_nothing(place, run):
    assert run("explain", *words(), "--block", "1").code == 0
    log = place / "out" / "log" / "rank-0.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text(lines[0].replace("parts/status/000000.parquet", "../pictures/a.png") + "".join(lines[1:]))
    (place / "out" / "parts" / "status" / "000000.parquet").unlink()
    assert "2 of 3 images" in run("run", "status", "out").out
    assert run("explain", *words(), "--block", "1").code == 0
    assert (place / "out" / "parts" / "status" / "000000.parquet").exists()
