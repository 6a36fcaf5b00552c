"""Maps made elsewhere are judged like any, by the images' numbers, and never stand in for an explainer."""

import numpy as np
import pytest
import torch
from PIL import Image

import assay
from assay.core.registry import short
from assay.errors import DataError, ImageTypeError, ShapeError, SpecError
from reference.nets import plain

TARGETS = torch.tensor([1, 0, 3])


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def model():
    return assay.Classifier(plain())


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 1, 8, 8), (5, 3, 8, 8)])
@pytest.mark.parametrize("kind", [torch.Tensor, np.ndarray, list])
def test_row_i_is_the_map_of_image_i(shape, kind, images, model):
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    given = {torch.Tensor: maps, np.ndarray: maps.numpy(), list: list(maps)}[kind]
    found = assay.Given(given, name="clinic")(model, images, TARGETS, index=torch.tensor([4, 0, 2]))
    expected = maps[[4, 0, 2]]
    assert torch.equal(found, expected if expected.ndim == 4 else expected[:, None])
    assert found.dtype == torch.float32


def test_scores_of_given_maps_are_those_of_the_explainer_that_made_them(images, model):
    maps = assay.Gradient()(model, images, TARGETS)
    audit = assay.audit(model, images, TARGETS, explainers=["Gradient"], maps={"clinic": maps})
    by = {
        name: audit.scores.filter(audit.scores["explainer"] == name).sort("image", "measure")["value"].to_list()
        for name in ("Gradient", "clinic")
    }
    assert by["clinic"] == by["Gradient"]
    assert by["clinic"]
    assert not {"MaxSensitivity"} & set(audit.scores["measure"])


def test_what_explains_anew_refuses_given_maps_by_name(images, model):
    given = assay.Given(torch.randn(3, 8, 8), name="clinic")
    message = "explains changed images or models too, but clinic holds maps that were made elsewhere"
    with pytest.raises(SpecError, match=f"MaxSensitivity {message}"):
        assay.audit(model, images, explainers=[given], measures=["MaxSensitivity"])
    with pytest.raises(SpecError, match=f"MaxSensitivity {message}"):
        assay.MaxSensitivity()(model, images, given(model, images), explainer=given)
    with pytest.raises(SpecError, match=f"MapAttack {message}"):
        assay.audit(model, images, explainers=[given], measures=["Deletion"], attacks=["MapAttack"])
    for attack in (assay.MapAttack(), assay.BlackBoxMapAttack(), assay.NoiseMapAttack()):
        assert not attack.can(given)
        for inside in (given, assay.Sparsified(given)):
            with pytest.raises(SpecError, match=f"{type(attack).__name__} explains changed images"):
                attack(model, inside, images)
    with pytest.raises(SpecError, match=f"Smoothed {message}"):
        assay.Smoothed(given)


def test_two_explainers_of_one_name_are_refused(images, model):
    maps = torch.randn(3, 8, 8)
    with pytest.raises(SpecError, match="the explainer Gradient is given twice"):
        assay.audit(model, images, explainers=["Gradient"], measures=["Deletion"], maps={"Gradient": maps})
    with pytest.raises(SpecError, match="a name of its own"):
        assay.Given(maps, name="RandomMap")


def write(folder, kind, maps):
    path = folder / {"npy": "m.npy", "npz": "m.npz", "named": "m.npz", "index": "m.npz", "folder": "m", "png": "m"}[kind]
    if kind == "npy":
        np.save(path, maps)
    elif kind == "npz":
        np.savez(path, maps)
    elif kind == "named":
        np.savez(path, clinic=maps, other=maps[:, :2])
    elif kind == "index":
        np.savez(path, maps=maps[[3, 1, 0, 2]], index=np.array([3, 1, 0, 2]))
    else:
        path.mkdir()
        for number, one in enumerate(maps):
            if kind == "folder":
                np.save(path / f"{number + 8}.npy", one)  # 10 and 11 stand before 8 and 9 in the alphabet.
            else:
                Image.fromarray(one.astype(np.uint8)).save(path / f"case {number}.png")
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "named", "index", "folder", "png"])
def test_files_are_read_by_the_images_numbers_and_a_spec_of_them_is_bound_to_their_content(kind, tmp_path, images, model):
    maps = np.random.default_rng(0).integers(0, 256, (4, 8, 8)).astype(np.float32)
    path = write(tmp_path, kind, maps)
    given = assay.Given(path, name="clinic")
    found = given(model, images[:2], index=torch.tensor([3, 2]) + (8 if kind == "folder" else 0))
    torch.testing.assert_close(found[:, 0].numpy() * (255 if kind == "png" else 1), maps[[3, 2]])
    assert short(given) == "clinic"
    assert assay.build(repr(given)) == given
    assert assay.build(f"Given({str(path)!r}, name='clinic')") == given
    if kind == "npy":
        np.save(path, maps + 1)
        with pytest.raises(DataError, match="holds other maps than this was made for"):
            assay.build(repr(given))


def test_maps_in_memory_are_equal_by_content():
    maps = torch.randn(2, 4, 4)
    assert assay.Given(maps, name="a") == assay.Given(maps.numpy()[:, None], name="a")
    assert hash(assay.Given(maps, name="a")) == hash(assay.Given(maps.clone(), name="a"))
    assert assay.Given(maps, name="a") != assay.Given(maps + 1, name="a")
    assert len(repr(assay.Given(torch.randn(500, 32, 32), name="a"))) < 200


def test_wrong_maps_are_refused(images, model, tmp_path):
    with pytest.raises(ShapeError, match=r"there is no map of image 2 \(1 are missing\); the maps are those of 0 to 1"):
        assay.Given(torch.randn(2, 8, 8), name="few")(model, images)
    with pytest.raises(ShapeError, match=r"'small' have shape \(1, 4, 4\) where"):
        assay.Given(torch.randn(3, 4, 4), name="small")(model, images)
    with pytest.raises(ShapeError, match=r"must have shape \(N, H, W\) or \(N, C, H, W\), not \(8, 8\)"):
        assay.Given(torch.randn(8, 8))
    with pytest.raises(ShapeError, match="have different sizes"):
        assay.Given([np.zeros((4, 4)), np.zeros((5, 4))])
    with pytest.raises(ImageTypeError, match="must be numbers"):
        assay.Given(np.array([[["a"]]]))
    with pytest.raises(DataError, match="there are no maps"):
        assay.Given(tmp_path / "none.npz")
    np.savez(tmp_path / "two.npz", a=np.zeros((1, 2, 2)), b=np.zeros((1, 2, 2)))
    with pytest.raises(DataError, match=r"two\.npz holds a, b and no c; the maps are found by their name, as in NAME="):
        assay.Given(tmp_path / "two.npz", name="c")
    np.savez(tmp_path / "twice.npz", maps=np.zeros((2, 2, 2)), index=np.array([1, 1]))
    with pytest.raises(ShapeError, match="different whole numbers"):
        assay.Given(tmp_path / "twice.npz")
    with pytest.raises(ShapeError, match="there is no map of image 2"):
        assay.audit(model, images, explainers=[], measures=["Deletion"], maps={"clinic": torch.randn(2, 8, 8)})
