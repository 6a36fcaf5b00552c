import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import assay
from assay.core.progress import silent
from assay.errors import EmptyBatchError, SpecError
from assay.run.arrays import open_maps
from assay.study.explain import ExplainStudy
from assay.study.study import Asked, run
from reference.guards import snapshot
from reference.nets import normed
from reference.sources import Broken, batch

TWO = (assay.Gradient(), assay.KernelShap(samples=12, segments=assay.Grid(2, 2)))
NAMES = ("Gradient", assay.core.registry.short(TWO[1]))


def explained(model, source, folder, explainers=TWO, seed=0, block=64, progress=silent, form="npz", overlays=True, classes=(), **more):
    study = ExplainStudy(tuple(explainers), form, overlays, **more)
    asked = Asked(model, source, seed, data={"name": "mine"}, classes=classes)
    study.check(asked)
    return run(study, asked, folder, block=block, progress=progress).found()


def read(folder, form):
    if form == "npz":
        with np.load(folder / "maps.npz") as found:
            return {name: found[name] for name in found}
    return {name: array[:] for name, array in open_maps(folder).items()}


@pytest.mark.parametrize("form", ["npz", "zarr"])
def test_maps_are_those_of_the_explainers_called_alone(model, images, tmp_path, form):
    pixels = images(5)
    found = explained(model, Broken(batch(pixels)), tmp_path, seed=2, block=3, form=form, overlays=False)
    assert (found.explained, found.problems, found.troubled) == (5, (), 0)
    kept = read(tmp_path, form)
    assert set(kept) == {*NAMES, "index", "targets"}
    assert kept["index"].tolist() == [0, 1, 2, 3, 4]
    assert kept["targets"].tolist() == model.predict(pixels).tolist()
    for name, explainer in zip(NAMES, TWO, strict=True):
        assert kept[name].dtype == np.float32
        np.testing.assert_allclose(kept[name], explainer(model, pixels, seed=2), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["npz", "zarr"])
def test_rounded_maps_are_off_by_11_bits_and_take_less_room(model, images, tmp_path, form):
    for name, keeping in (("a", "whole"), ("b", "rounded")):
        explained(model, Broken(batch(images(9))), tmp_path / name, TWO[:1], block=4, form=form, overlays=False, keep_maps=keeping)
    whole, rounded = (read(tmp_path / name, form)["Gradient"] for name in "ab")
    assert rounded.dtype == np.float32
    assert not np.array_equal(whole, rounded)
    assert (np.abs(whole - rounded) <= 2**-11 * np.abs(whole)).all()
    np.testing.assert_array_equal(rounded, read(tmp_path / "b", "zarr")["Gradient"])
    with np.errstate(over="ignore"):
        scaled = whole * np.float32(2.0) ** (10 - np.floor(np.log2(np.abs(whole).clip(1e-30))))
    expected = np.rint(scaled) / scaled * whole
    np.testing.assert_allclose(rounded, np.where(whole == 0, 0, expected), rtol=1e-6)
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / name / "maps.zarr" / "Gradient" / "c").rglob("*") if path.is_file())
        for name in "ab"
    ]
    assert sizes[1] < 0.75 * sizes[0]
    assert 'keep_maps = "rounded"' in (tmp_path / "b" / "run.toml").read_text()


def test_of_the_top_share_alone_the_largest_pixels_are_kept_and_read_as_they_were(model, images, tmp_path):
    pixels = images(3)
    explained(model, Broken(batch(pixels)), tmp_path, TWO[:1], form="zarr", overlays=False, keep_top=0.25)
    found = torch.from_numpy(read(tmp_path, "zarr")["Gradient"])
    whole = assay.Gradient()(model, pixels)
    sizes = whole.abs().sum(1).flatten(1)
    top = sizes >= sizes.topk(round(0.25 * sizes.shape[1])).values[:, -1:]
    assert torch.equal(found.abs().sum(1).flatten(1) > 0, top)
    torch.testing.assert_close(found, whole * top.view(3, 1, *whole.shape[2:]), rtol=1e-4, atol=1e-6)
    given = assay.Given(str(tmp_path / "maps.zarr"), name="Gradient")
    assert torch.equal(given(model, pixels), found)


@pytest.mark.parametrize("top", [0.0, 1.0, -0.5, 3.0])
def test_a_share_to_keep_lies_between_0_and_1(model, images, tmp_path, top):
    with pytest.raises(SpecError, match="keep_top"):
        explained(model, Broken(batch(images(2))), tmp_path, keep_top=top)


def test_npz_and_zarr_hold_the_same_bits_and_a_repeat_gives_the_same_file(model, images, tmp_path):
    for place in ("a", "b"):
        explained(model, Broken(batch(images(5))), tmp_path / place, block=2, form="npz", overlays=False)
    first, second = read(tmp_path / "a", "npz"), read(tmp_path / "a", "zarr")
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert (tmp_path / "a" / "maps.npz").read_bytes() == (tmp_path / "b" / "maps.npz").read_bytes()


def test_each_map_is_drawn_over_its_image(model, images, tmp_path):
    explained(model, Broken(batch(images(2), names=["dir/0.png", "dir/1.png"])), tmp_path)
    drawn = sorted(path.relative_to(tmp_path / "overlays").as_posix() for path in (tmp_path / "overlays").rglob("*.png"))
    assert len(drawn) == 4
    assert "Gradient/000000_dir_0.png.png" in drawn
    with Image.open(tmp_path / "overlays" / "Gradient" / "000000_dir_0.png.png") as picture:
        assert picture.width == picture.height >= 256


def test_images_whose_names_fall_together_keep_their_own_overlays(model, images, tmp_path):
    explained(model, Broken(batch(images(4), names=["a/b.png", "a_b.png", "A_B.png", "x" * 300])), tmp_path, TWO[:1])
    names = [path.name.lower() for path in (tmp_path / "overlays" / "Gradient").iterdir()]
    assert len(set(names)) == 4


def test_predictions_are_kept(model, images, tmp_path):
    source = Broken(batch(images(2), torch.tensor([1, 0]), ["dir/0.png", "dir/1.png"]))
    explained(model, source, tmp_path, classes=["cat", "dog"], block=1)
    rows = pl.read_csv(tmp_path / "predictions.csv", schema_overrides={"predicted": pl.String})
    assert rows["name"].to_list() == ["dir/0.png", "dir/1.png"]
    assert rows["label"].to_list() == ["dog", "cat"]
    assert rows["predicted"].to_list() == [str(one) for one in model.predict(images(2)).tolist()]
    best = model.logits(images(2)).softmax(1).amax(1)
    assert rows["probability"].to_list() == pytest.approx(best.tolist(), abs=1e-5)


def test_the_record_answers_the_seven_questions(model, images):
    kept = ExplainStudy(TWO).record(Asked(model, Broken(batch(images(3))), data={"name": "mine"}))
    assert set(kept) == {"algorithm", "code", "data", "splits", "machine", "packages", "setup"}
    assert kept["data"] == {"name": "mine"}
    assert kept["setup"]["explainers"] == [repr(one) for one in TWO]


@pytest.mark.parametrize("block", [1, 3, 64])
def test_bad_images_are_listed_and_left_out(fragile, images, tmp_path, block):
    pixels = images(5) * 0.9
    pixels[0, 0, 0, 0] = 1.0
    steps = []
    source = Broken(batch(pixels), {2: "the file is empty", 4: "no image"})
    found = explained(fragile, source, tmp_path, block=block, form="npz", progress=lambda *told: steps.append(told))
    assert (found.explained, found.troubled) == (2, 3)
    assert dict(found.problems) == {
        "image 0": "the model's output is NaN or infinite",
        "image 2": "the file is empty",
        "image 4": "no image",
    }
    kept = read(tmp_path, "npz")
    assert kept["index"].tolist() == [1, 3]
    assert all(np.isfinite(kept[name]).all() for name in NAMES)
    rows = read(tmp_path, "zarr")
    assert rows["targets"].tolist() == [-1, kept["targets"][0], -1, kept["targets"][1], -1]
    assert all(np.isnan(rows[name][[0, 2, 4]]).all() for name in NAMES)
    assert pl.read_csv(tmp_path / "status.csv")["image"].to_list() == [0, 1, 2, 3, 4]
    done = [done for _, done, _ in steps]
    assert done == sorted(done)
    assert steps[-1][1] == steps[-1][2] == 5


def test_when_no_image_can_be_read_that_is_said(model, images, tmp_path):
    with pytest.raises(EmptyBatchError, match=r"no image could be read: image 0: the file is empty"):
        explained(model, Broken(batch(images(1)), {0: "the file is empty"}), tmp_path)


def test_a_run_that_is_interrupted_before_its_first_block_leaves_nothing(model, images, tmp_path):
    class Interrupted(Broken):
        def read(self, blocks):
            yield from super().read(list(blocks)[:0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explained(model, Interrupted(batch(images(2))), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("explainers", "message"), [((), "at least one"), ((assay.Gradient(),) * 2, "twice")])
def test_explainers_must_be_there_and_different(model, images, explainers, message):
    with pytest.raises(SpecError, match=message):
        ExplainStudy(explainers).check(Asked(model, Broken(batch(images(1)))))


def test_the_callers_network_and_the_global_generators_stay_as_they_were(images, tmp_path, untouched):
    net = normed()
    before = snapshot(net)
    with untouched():
        explained(assay.Classifier(net), Broken(batch(images(2))), tmp_path)
    assert snapshot(net) == before
