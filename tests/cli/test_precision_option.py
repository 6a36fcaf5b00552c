import json
import tomllib

import pytest

from assay.run import status
from assay.study import precision_choice

EXPLAIN = (
    *("explain", "--model", "python:mynets:good", "--images", "pictures", "--block", "1", "--explainer", "Gradient", "--no-overlays"),
)


@pytest.fixture
def speed(monkeypatch):
    """`speed(2.0)` makes 16 bits twice as fast on this device, for however few images."""
    monkeypatch.setattr(precision_choice, "LEAST", 1)
    monkeypatch.setattr(precision_choice, "settled", lambda *_: "bfloat16")
    return lambda ratio: monkeypatch.setattr(precision_choice, "_faster", lambda *_: ratio)


def network(folder):
    return tomllib.loads((folder / "run.toml").read_text())["settings"]["network"]


def test_what_a_run_was_begun_in_is_what_it_goes_on_in(place, run, speed):
    speed(2.0)
    assert run(*EXPLAIN, "--out", "out", "--part", "1/2").code == 0
    assert network(place / "out")["precision"] == "bfloat16"
    speed(1.0)
    second = run(*EXPLAIN, "--out", "out", "--part", "2/2")
    assert second.code == 0, second.err
    assert run("run", "merge", "out", "--trust").code == 0
    speed(2.0)
    assert run(*EXPLAIN, "--out", "whole").code == 0
    files = [
        {path.name: path.read_bytes() for path in (place / one / "maps.zarr" / "Gradient").rglob("*") if path.is_file()}
        for one in ("out", "whole")
    ]
    assert files[0] == files[1]
    findings = json.loads((place / "out" / "environment.json").read_text())["setup"]["model"]["findings"]
    assert any("Computed in bfloat16" in one for one in findings)


def test_a_part_that_found_otherwise_while_another_began_takes_what_that_began_with(place, run, speed, monkeypatch):
    speed(2.0)
    assert run(*EXPLAIN, "--out", "out", "--part", "1/2").code == 0
    speed(1.0)
    asked = []

    def late(folder):
        asked.append(folder)
        return None if len(asked) == 1 else network(folder)

    monkeypatch.setattr(status, "network_of", late)
    found = run(*EXPLAIN, "--out", "out", "--part", "2/2")
    assert found.code == 0, found.err
    assert len(asked) == 2


def test_a_precision_that_is_asked_for_is_taken_without_a_try(place, run, speed):
    speed(2.0)
    assert run(*EXPLAIN, "--out", "out", "--precision", "float32").code == 0
    assert network(place / "out")["precision"] == "float32"
    assert "chosen" not in network(place / "out")


def test_few_images_stay_in_thirty_two_bits(place, run):
    assert run(*EXPLAIN, "--out", "out").code == 0
    assert network(place / "out")["precision"] == "float32"


def test_how_float32_matrices_are_multiplied_is_set_recorded_and_part_of_what_a_run_is(place, run, products):
    assert run(*EXPLAIN, "--out", "out", "--matmul-precision", "high").code == 0
    assert products() == {"float32 products": "high", "float32 convolutions": "TF32"}
    record = json.loads((place / "out" / "environment.json").read_text())["machine"]
    assert record["device"] == "cpu"
    assert record["float32 products"] == "high"
    assert tomllib.loads((place / "out" / "run.toml").read_text())["settings"]["matmul_precision"] == "high"
    other = run(*EXPLAIN, "--out", "out")
    assert other.code == 2
    assert "matmul" in other.err
    assert run(*EXPLAIN, "--out", "usual").code == 0
    assert products() == {"float32 products": "highest", "float32 convolutions": "float32"}


def test_a_product_that_there_is_not_is_refused_by_name(place, run, products):
    found = run(*EXPLAIN, "--out", "out", "--matmul-precision", "higher")
    assert found.code == 2
    assert "--matmul-precision" in found.err
    assert not (place / "out").exists()
