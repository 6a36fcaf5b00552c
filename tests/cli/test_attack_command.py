import numpy as np
import polars as pl
import pytest
import torch
import zarr

import assay
from assay.attack.ball import ball
from assay.report.attack_views import Attacks
from assay.study.attack.findings import attack_summary

MODEL = ("--model", "python:mynets:good", "--images", "pictures")
GRID = "KernelShap(samples=10, segments=Grid(rows=2, columns=2))"


def test_tables_arrays_and_a_report_tell_of_every_image_and_explainer(place, run):
    found = run(
        *("attack", *MODEL, "--explainer", "Gradient", "--explainer", GRID, "--explainer", "RandomMap"),
        *("--norm", "l2", "--eps", "0.4", "--steps", "3", "--gallery", "1", "--block", "2", "--out", "out"),
    )
    assert found.code == 0, found.err
    assert "what is left of the maps" in found.out
    table = pl.read_parquet("out/attacks.parquet")
    assert len(table) == len(pl.read_csv("out/attacks.csv")) == 9
    assert table["kept"].all()
    assert table["attack"].str.starts_with("BlackBoxMapAttack").sum() == 3
    assert table.filter(pl.col("explainer") == "Gradient")["left"].is_between(0, 1).all()
    summary = pl.read_csv("out/summary.csv")
    assert summary["explainer"].to_list() == ["Gradient", GRID, "RandomMap"]
    arrays = zarr.open_group("out/maps.zarr", mode="r")
    images = torch.from_numpy(np.asarray(arrays["Gradient attacked images"]))
    pictures = assay.data.load("pictures")
    assert ball("l2", 0.4).contains(images - torch.stack([pictures[at].image for at in range(3)])).all()
    assert arrays[f"{GRID} attacked maps"].shape == (3, 1, 8, 8)
    page = (place / "out" / "report.html").read_text()
    for text in ("Can these explanations be bent", "difference ×", "map, attacked", "after noise", "L2 norm 0.4"):
        assert text in page


def test_maps_are_kept_rounded_when_asked_and_attacked_images_whole(place, run):
    command = ("attack", *MODEL, "--explainer", "Gradient", "--norm", "l2", "--eps", "0.4", "--steps", "2")
    assert run(*command, "--out", "whole").code == 0
    assert run(*command, "--out", "less", "--keep-maps", "rounded", "--keep-top", "0.5").code == 0
    whole, less = (zarr.open_group(f"{name}/maps.zarr", mode="r") for name in ("whole", "less"))
    name = "Gradient attacked images"
    assert np.array_equal(np.asarray(whole[name]), np.asarray(less[name]))
    for kind in ("maps", "attacked maps"):
        one, other = (np.asarray(group[f"Gradient {kind}"]) for group in (whole, less))
        assert not np.array_equal(one, other)
        kept = np.abs(other).sum(1, keepdims=True) > 0
        assert 0.4 < kept.mean() <= 0.6
        assert (np.abs(one * kept - other) <= 2**-11 * np.abs(one)).all()


def test_a_finished_run_has_nothing_left_to_do_and_gives_the_same_again(place, run):
    command = ("attack", *MODEL, "--explainer", "Gradient", "--steps", "2", "--out", "out")
    assert run(*command).code == 0
    before = (place / "out" / "attacks.parquet").read_bytes()
    again = run(*command)
    assert again.code == 0
    assert "nothing was left to do" in again.out
    assert (place / "out" / "attacks.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--explainer", "Gradiant"), "did you mean Gradient"),
        (("--explainer", "Gradient", "--goal", "Cosine"), "is not a Goal"),
        (("--explainer", "Gradient", "--norm", "l1"), "give --eps"),
        (("--explainer", "Gradient", "--eps", "-1"), "eps must be at least 0"),
        (("--explainer", "Gradient", "--compare", "L2"), "no similarity"),
        (("--explainer", "Gradient", "--keep-top", "1"), "keep_top must be a share"),
        (("--explainer", "Gradient", "--attack", "Gradient"), "is not an Attack"),
        (("--explainer", "Gradient", "--explainer", "Gradient()"), "given twice"),
    ],
)
def test_a_mistake_ends_with_one_line_before_any_work(place, run, options, message):
    found = run("attack", *MODEL, *options, "--out", "out")
    assert found.code == 2
    assert len(found.lines) == 1
    assert message in found.err
    assert not (place / "out").exists()


def test_an_audit_with_an_attack_has_its_scores_its_floor_and_attacked_images(place, run):
    found = run(
        *("audit", *MODEL, "--explainer", "Gradient", "--measure", "Deletion(steps=4)", "--gallery", "1"),
        *("--attack", "MapAttack(eps=0.3, norm='l2', steps=2)", "--out", "out"),
    )
    assert found.code == 0, found.err
    measures = set(pl.read_parquet("out/scores.parquet")["measure"])
    assert len(measures) == 3
    assert sum("NoiseMapAttack" in name for name in measures) == 1
    page = (place / "out" / "report.html").read_text()
    assert "Attacked maps" in page
    assert "difference ×" in page


def test_an_audit_in_memory_takes_attacks_too():
    from reference.nets import plain

    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = assay.audit(
        assay.Classifier(plain()),
        images,
        explainers=["Gradient"],
        measures=["Deletion(steps=4)"],
        attacks=["MapAttack(steps=2)"],
        gallery=4,
    )
    assert found.scores["measure"].n_unique() == 3
    assert len(found.page.part(Attacks).views) == 3


def test_an_explainer_is_fragile_only_when_the_attack_takes_more_than_noise():
    noise, left = np.linspace(0.6, 0.8, 40), np.linspace(0.1, 0.3, 40)
    table = pl.DataFrame(
        {
            "explainer": ["weak"] * 40 + ["steady"] * 40,
            "attack": ["MapAttack()"] * 80,
            "left_after_noise": [*noise, *noise],
            "left": [*left, *np.roll(noise, 7)],
            "kept": [True] * 80,
        }
    )
    found = attack_summary(table)
    assert found["fragile"].to_list() == [True, False]
    assert found["left"][0] == pytest.approx(0.2)
    assert found["gap"][0] == pytest.approx(0.5)
