import json

import numpy as np
import polars as pl
import pytest
import torch
import zarr
from PIL import Image

import assay
from assay.data import Batch
from assay.data.base import Corrupt
from assay.errors import DataError, EmptyBatchError, SpecError
from assay.study.explain import explain_batches
from reference.guards import snapshot
from reference.nets import normed

TWO = (assay.Gradient(), assay.KernelShap(samples=12, segments=assay.Grid(2, 2)))
NAMES = ("Gradient", assay.core.registry.short(TWO[1]))


def batch(images, start=0, errors=(), names=None, labels=None):
    numbers = torch.arange(start, start + len(images))
    return Batch(images, labels, None, None, numbers, tuple(names or (f"dir/{at}.png" for at in numbers.tolist())), tuple(errors))


def read(folder, form):
    if form == "npz":
        with np.load(folder / "maps.npz") as found:
            return {name: found[name] for name in found}
    group = zarr.open_group(str(folder / "maps.zarr"), mode="r")
    return {name: array[:] for name, array in group.arrays()}


@pytest.mark.parametrize("form", ["npz", "zarr"])
def test_maps_are_those_of_the_explainers_called_alone(model, images, tmp_path, form):
    pixels = images(5)
    found = explain_batches(model, [batch(pixels[:3]), batch(pixels[3:], 3)], 5, TWO, tmp_path, 2, form=form, overlays=False)
    assert (found.explained, found.problems) == (5, ())
    kept = read(tmp_path, form)
    assert set(kept) == {*NAMES, "index", "targets"}
    assert kept["index"].tolist() == [0, 1, 2, 3, 4]
    assert kept["targets"].tolist() == model.predict(pixels).tolist()
    for name, explainer in zip(NAMES, TWO, strict=True):
        assert kept[name].dtype == np.float32
        np.testing.assert_allclose(kept[name], explainer(model, pixels, seed=2), rtol=1e-4, atol=1e-6)


def test_npz_and_zarr_hold_the_same_bits(model, images, tmp_path):
    for form in ("npz", "zarr"):
        (tmp_path / form).mkdir()
        explain_batches(model, [batch(images(3)), batch(images(2, seed=1), 3)], 5, TWO, tmp_path / form, form=form, overlays=False)
    first, second = read(tmp_path / "npz", "npz"), read(tmp_path / "zarr", "zarr")
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_each_map_is_drawn_over_its_image(model, images, tmp_path):
    explain_batches(model, [batch(images(2))], 2, TWO, tmp_path)
    drawn = sorted(path.relative_to(tmp_path / "overlays").as_posix() for path in (tmp_path / "overlays").rglob("*.png"))
    assert len(drawn) == 4
    assert "Gradient/dir_0.png.png" in drawn
    with Image.open(tmp_path / "overlays" / "Gradient" / "dir_0.png.png") as picture:
        assert picture.width == picture.height >= 256


def test_images_whose_names_fall_together_keep_their_own_overlays(model, images, tmp_path):
    explain_batches(model, [batch(images(4), names=["a/b.png", "a_b.png", "A_B.png", "a_b.png_1"])], 4, TWO[:1], tmp_path)
    names = [path.name.lower() for path in (tmp_path / "overlays" / "Gradient").iterdir()]
    assert len(set(names)) == 4


def test_predictions_and_the_record_are_kept(model, images, tmp_path):
    labels = torch.tensor([1, 0])
    explain_batches(model, [batch(images(2), labels=labels)], 2, TWO, tmp_path, data={"name": "mine"}, classes=["cat", "dog"])
    rows = pl.read_csv(tmp_path / "predictions.csv", schema_overrides={"predicted": pl.String})
    assert rows["name"].to_list() == ["dir/0.png", "dir/1.png"]
    assert rows["label"].to_list() == ["dog", "cat"]
    assert rows["predicted"].to_list() == [str(one) for one in model.predict(images(2)).tolist()]
    best = model.logits(images(2)).softmax(1).amax(1)
    assert rows["probability"].to_list() == pytest.approx(best.tolist(), abs=1e-5)
    kept = json.loads((tmp_path / "record.json").read_text())
    assert set(kept) == {"algorithm", "code", "data", "splits", "machine", "packages", "setup"}
    assert kept["data"] == {"name": "mine"}
    assert kept["setup"]["explainers"] == [repr(one) for one in TWO]


@pytest.mark.parametrize("form", ["npz", "zarr"])
def test_bad_images_are_listed_and_left_out(fragile, images, tmp_path, form):
    pixels = images(3) * 0.9
    pixels[0, 0, 0, 0] = 1.0
    steps = []
    found = explain_batches(
        fragile,
        [
            batch(pixels[:1]),
            batch(pixels[1:], 1, [Corrupt("x.png", "the file is empty")]),
            batch(pixels[:0], 3, [Corrupt("y.png", "no image")]),
        ],
        5,
        TWO,
        tmp_path,
        form=form,
        progress=lambda *told: steps.append(told),
    )
    assert found.explained == 2
    assert dict(found.problems) == {
        "dir/0.png": "the model's output is NaN or infinite",
        "x.png": "the file is empty",
        "y.png": "no image",
    }
    kept = read(tmp_path, form)
    assert kept["index"].tolist() == [1, 2]
    assert all(np.isfinite(kept[name]).all() for name in NAMES)
    done = [done for _, done, _ in steps]
    assert done == sorted(done)
    assert steps[-1][1] == steps[-1][2] == 10


def test_nothing_is_left_when_no_image_can_be_explained(model, images, tmp_path):
    with pytest.raises(EmptyBatchError, match=r"no image could be explained: x\.png: the file is empty"):
        explain_batches(model, [batch(images(1)[:0], errors=[Corrupt("x.png", "the file is empty")])], 1, TWO, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["npz", "zarr"])
def test_an_interrupted_run_leaves_nothing_half_written(model, images, tmp_path, form):
    def interrupted():
        yield batch(images(2))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain_batches(model, interrupted(), 4, TWO, tmp_path, form=form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("explainers", "message"), [((), "at least one"), ((assay.Gradient(),) * 2, "twice")])
def test_explainers_must_be_there_and_different(model, images, tmp_path, explainers, message):
    with pytest.raises(SpecError, match=message):
        explain_batches(model, [batch(images(1))], 1, explainers, tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_error(model, images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write the maps to .*file"):
        explain_batches(model, [batch(images(1))], 1, TWO, tmp_path / "file")


def test_the_callers_network_and_the_global_generators_stay_as_they_were(images, tmp_path, untouched):
    net = normed()
    before = snapshot(net)
    with untouched():
        explain_batches(assay.Classifier(net), [batch(images(2))], 2, TWO, tmp_path, form="zarr")
    assert snapshot(net) == before
