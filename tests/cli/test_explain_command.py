import json

import numpy as np
import polars as pl
import zarr
from PIL import Image

FILES = {
    "sheet.png",
    "sheet.pdf",
    "maps.zarr",
    "maps.npz",
    "overlays",
    "predictions.csv",
    "status.csv",
    "environment.json",
    "run.toml",
    "log",
    "lock",
    "parts",
}
GOOD = ("explain", "--model", "python:mynets:good", "--images", "pictures", "--out", "out")


def test_maps_overlays_predictions_and_record_are_written(place, run):
    found = run(*GOOD, "--explainer", "Gradient", "--explainer", "SmoothGrad(sigma=0.05, samples=2)")
    assert found.code == 0, found.err
    assert {one.name for one in (place / "out").iterdir()} == FILES
    with np.load(place / "out" / "maps.npz") as maps:
        assert maps["Gradient"].shape == maps["SmoothGrad(sigma=0.05, samples=2)"].shape == (3, 3, 8, 8)
        assert maps["index"].tolist() == [0, 1, 2]
    assert len(list((place / "out" / "overlays").rglob("*.png"))) == 6
    assert "3 images explained by 2 explainers" in found.out
    assert json.loads((place / "out" / "environment.json").read_text())["data"]["spec"].startswith("ImageFolder(")


def test_zarr_without_overlays(place, run):
    found = run(*GOOD, "--explainer", "Gradient", "--maps", "zarr", "--no-overlays", "--count", 2)
    assert found.code == 0, found.err
    group = zarr.open_group(str(place / "out" / "maps.zarr"), mode="r")
    assert group["Gradient"].shape == (2, 3, 8, 8)
    assert not (place / "out" / "overlays").exists()


def test_labels_are_written_by_name(place, run):
    assert run(*GOOD[:4], "classes", *GOOD[5:], "--explainer", "Gradient", "--no-overlays").code == 0
    assert pl.read_csv(place / "out" / "predictions.csv")["label"].to_list() == ["cat", "cat", "dog"]


def test_a_corrupt_image_is_named_and_the_others_are_explained(place, run):
    (place / "pictures" / "b.png").write_text("no picture")
    found = run(*GOOD, "--explainer", "Gradient")
    assert found.code == 0, found.err
    assert "2 images explained by 1 explainer\n" in found.out
    assert "b.png: it is no image of a known kind" in found.out
    assert len(pl.read_csv(place / "out" / "predictions.csv")) == 2


def test_images_of_different_sizes_need_a_size(place, run):
    Image.new("RGB", (9, 7)).save(place / "pictures" / "d.png")
    found = run(*GOOD, "--explainer", "Gradient")
    assert found.code == 2
    assert "different sizes" in found.err
    assert not (place / "out").exists()
    assert run(*GOOD, "--explainer", "Gradient", "--size", 8).code == 0


def test_an_explainer_given_twice_is_refused(place, run):
    found = run(*GOOD, "--explainer", "Gradient", "--explainer", "Gradient")
    assert (found.code, len(found.lines)) == (2, 1)
    assert "twice" in found.lines[0]
    assert not (place / "out").exists()


def test_seeds_decide_random_maps(place, run):
    for out, seed in (("one", 0), ("two", 0), ("three", 1)):
        assert run(*GOOD[:-1], out, "--explainer", "RandomMap", "--seed", seed, "--no-overlays").code == 0
    one, two, three = (np.load(place / out / "maps.npz")["RandomMap"] for out in ("one", "two", "three"))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)
