import numpy as np
import polars as pl
import pytest

from assay.run.arrays import open_maps

MODEL = ("--model", "python:mynets:good", "--images", "pictures", "--output", "probability")
SMOOTH = ("--smoothing", "SmoothGrad(sigma=0.3, samples=20)", "--samples", "40")
VOTES = "Smoothed(explainer=Sparsified(explainer=Gradient(), fraction=0.2), kernel=Gaussian(sigma=0.3), samples=40, antithetic=False)"
ATTACK = "MapAttack(eps=0, norm='l2', steps=2, judge_every=2, samples=2, goal=MaximiseDistance(distance=Cosine()))"


def test_a_table_a_summary_and_a_figure_tell_of_every_image_and_radius(place, run):
    found = run("certify", *MODEL, *SMOOTH, "--eps", "0.1", "--eps", "0", "--attack", ATTACK, "--block", "2", "--out", "out")
    assert found.code == 0, found.err
    assert "certified and attacked" in found.out
    table = pl.read_parquet("out/certificates.parquet")
    assert len(table) == len(pl.read_csv("out/certificates.csv")) == 6
    assert (table["samples"] == 60).all()
    assert table["attacked_cosine"].is_between(-1, 1 + 1e-6).all()
    still = table.filter(pl.col("eps") == 0)
    assert still["attacked_cosine"].to_list() == pytest.approx([1.0] * 3)
    summary = pl.read_csv("out/summary.csv")
    assert summary["eps"].to_list() == [0.0, 0.1]
    assert summary["images"].to_list() == [3, 3]
    assert summary["attacked_cosine"][1] < 1
    assert "<svg" in (place / "out" / "certified.svg").read_text()
    assert (place / "out" / "certified.pdf").read_bytes().startswith(b"%PDF")
    page = (place / "out" / "report.html").read_text()
    assert "within L2 distance 0, at 0.99 confidence for each image" in page
    assert page.count('alt="') == 1 + 3  # The figure, and a row of pictures for each image.


def test_top_pixels_are_certified_of_logits_and_need_no_attack(place, run):
    options = ("certify", *MODEL[:-2], "--smoothing", VOTES, "--eps", "0.01", "--attack", "none", "--out", "out")
    found = run(*options)
    assert found.code == 0, found.err
    assert (pl.read_parquet("out/certificates.parquet")["cosine"] > 0).all()
    assert pl.read_parquet("out/certificates.parquet")["attacked_cosine"].is_nan().all()
    before = (place / "out" / "certificates.parquet").read_bytes()
    again = run("run", "resume", "out", "--trust")
    assert again.code == 0, again.err
    assert "nothing was left to do" in again.out
    kept = open_maps(place / "out")
    assert kept["maps"].shape == (3, 1, 8, 8)
    signs, table = np.asarray(kept["pixels"]), pl.read_parquet("out/certificates.parquet")
    assert signs.shape == (3, 1, 8, 8)
    for name, sign in (("top", 1), ("out", -1), ("open", 0)):
        assert (signs == sign).mean((1, 2, 3)).tolist() == pytest.approx(table[name].to_list())
    flat = np.asarray(kept["maps"], float).reshape(3, -1)
    ways = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    apart = [ways[one] @ ways[other] for one, other in ((0, 1), (0, 2), (1, 2))]
    page = (place / "out" / "report.html").read_text()
    assert f"a mean cosine of {np.mean(apart):.3f}" in page
    assert f"{np.mean(apart):.3f} in mean between the seen ones of different images" in " ".join(again.out.split())
    assert (place / "out" / "certificates.parquet").read_bytes() == before


def test_rounded_maps_change_nothing_that_is_certified(place, run):
    options = ("certify", *MODEL[:-2], "--smoothing", VOTES, "--eps", "0.01", "--attack", "none")
    assert run(*options, "--out", "out").code == 0
    assert run(*options, "--keep-maps", "rounded", "--out", "less").code == 0
    whole, rounded = (np.asarray(open_maps(place / one)["maps"]) for one in ("out", "less"))
    assert (np.abs(whole - rounded) <= 2**-11 * np.abs(whole)).all()
    assert not (rounded.view(np.uint32) & 0x1FFF).any()
    assert pl.read_parquet("out/certificates.parquet").equals(pl.read_parquet("less/certificates.parquet"), null_equal=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--smoothing", "Gradient"), "no certificate for Gradient"),
        (("--smoothing", "SmoothGrad(sigma=0.3, samples=20)", "--output", "logit"), "give --output probability"),
        (("--smoothing", "SmoothGrad(sigma=0.3, samples=20)", "--attack", "MapAttack"), "must be in norm l2, not linf"),
        (("--smoothing", "SmoothGrad(sigma=0.3, samples=20)", "--confidence", "1"), "confidence must be in"),
        (("--smoothing", VOTES, "--samples", "4"), "the map's own copies"),
    ],
)
def test_a_mistake_ends_with_one_line_before_any_work(place, run, options, message):
    found = run("certify", *MODEL, *options, "--eps", "0.1", "--out", "out")
    assert found.code == 2
    assert len(found.lines) == 1
    assert message in found.err
    assert not (place / "out").exists()
