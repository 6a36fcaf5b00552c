import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import assay
import assay.ray
from assay.errors import AssayError, DataError, SpecError
from reference.nets import plain


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(AssayError, match=r'pip install "assay\[ray\]"'):
        assay.ray.explain(None, lambda: None, assay.Gradient())


def make():
    return assay.Classifier(plain(seed=1))


def pixels(count=6):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)


def local(explainer, images, ids, seed):
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    model = make()
    return explainer(model, tensor, seed=seed, index=torch.tensor(ids)), model.predict(tensor)


def test_an_actor_gives_the_local_maps_in_any_batches():
    explainer, images, ids = assay.SmoothGrad(sigma=0.1, samples=4), pixels(), [5, 9, 0, 3, 2**40, 1]
    actor = assay.ray._Actor(make, explainer, 7, None)
    parts = [actor({"image": images[rows], "id": np.array(ids)[rows]}) for rows in (slice(0, 2), slice(2, 6))]
    maps, predicted = local(explainer, images, ids, 7)
    np.testing.assert_allclose(np.concatenate([part["map"] for part in parts]), maps, rtol=1e-4, atol=1e-6)
    assert np.concatenate([part["predicted"] for part in parts]).tolist() == predicted.tolist()
    assert np.concatenate([part["id"] for part in parts]).tolist() == ids


def test_without_ids_noise_follows_the_content():
    actor = assay.ray._Actor(make, assay.RandomMap(), 0, None)
    images = pixels()
    whole, turned = actor({"image": images}), actor({"image": images[::-1]})
    assert len(set(whole["id"].tolist())) == 6
    assert (whole["id"] >= 0).all()
    assert np.array_equal(whole["map"], turned["map"][::-1])


def test_floating_images_are_taken_as_they_are():
    actor = assay.ray._Actor(make, assay.Gradient(), 0, None)
    images, ids = pixels(), np.arange(6)
    floats = (images / np.float32(255)).astype(np.float32)
    assert np.array_equal(actor({"image": images, "id": ids})["map"], actor({"image": floats, "id": ids})["map"])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"image": np.array([np.zeros((2, 2, 3)), np.zeros((3, 3, 3))], dtype=object)}, "of one size"),
        ({"image": pixels(1), "id": np.array([0.5])}, "whole numbers"),
    ],
)
def test_batches_that_cannot_be_used_are_named(batch, message):
    with pytest.raises(DataError, match=message):
        assay.ray._Actor(make, assay.Gradient(), 0, None)(batch)


@pytest.fixture(scope="module")
def cluster():
    """A local Ray of two cores."""
    ray = pytest.importorskip("ray")
    importlib.import_module("ray.data")
    here = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}  # Actors import this file.
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=here)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


@pytest.mark.filterwarnings("ignore")  # Ray's own, which differ from version to version.
def test_a_local_ray_gives_the_local_maps(cluster):
    explainer, images = assay.SmoothGrad(sigma=0.1, samples=4), pixels()
    rows = [{"image": image, "id": 3 * number} for number, image in enumerate(images)]
    dataset = cluster.data.from_items(rows, override_num_blocks=3)
    found = assay.ray.explain(dataset, make, explainer, seed=7, batch_size=2, actors=1).take_all()
    by_id = {row["id"]: row for row in found}
    maps, predicted = local(explainer, images, [3 * number for number in range(6)], 7)
    assert sorted(by_id) == [0, 3, 6, 9, 12, 15]
    for number in range(6):
        np.testing.assert_allclose(by_id[3 * number]["map"], maps[number], rtol=1e-4, atol=1e-6)
        assert by_id[3 * number]["predicted"] == predicted[number]
    with pytest.raises(DataError, match="no column image; its columns are id"):
        assay.ray.explain(dataset.drop_columns(["image"]), make, explainer)
    with pytest.raises(SpecError, match="must be an Explainer"):
        assay.ray.explain(dataset, make, "Gradient")
    with pytest.raises(SpecError, match="actors must be at least 1"):
        assay.ray.explain(dataset, make, explainer, actors=0)
