"""Maps and code from elsewhere on the command line: what they give, and what a run folder makes of them."""

import numpy as np
import polars as pl
import pytest
import torch

import assay
from reference.nets import plain

AUDIT = ("audit", "--model", "python:mynets:good", "--images", "pictures", "--measure", "Deletion(steps=3)")
CODE = """
from typing import ClassVar
from assay import Explainer, Gradient, register

@register
class Halved(Explainer):
    \"\"\"Half the gradient.\"\"\"

    category: ClassVar[str] = "gradient"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    reference: ClassVar[str] = "ours"

    def attribute(self, model, images, targets, index, seed):
        return Gradient().attribute(model, images, targets, index, seed) / 2
"""
BOX = """
import assay
from reference.nets import plain

def make():
    net = plain()
    return assay.Classifier(lambda images: net(images).detach())
"""


@pytest.fixture
def maps(place):
    """The gradient's maps of the pictures."""
    batch = assay.data.read(assay.data.load("pictures"), range(3))
    return assay.Gradient()(assay.Classifier(plain()), batch.images).numpy()


def values(folder, explainer):
    scores = pl.read_parquet(folder / "scores.parquet")
    return scores.filter(scores["explainer"] == explainer).sort("image")["value"].to_list()


def test_maps_by_name_are_scored_as_the_explainer_that_made_them(place, run, maps):
    np.savez(place / "maps.npz", maps=maps)
    found = run(*AUDIT, "--explainer", "Gradient", "--maps", "clinic=maps.npz", "--out", "out")
    assert found.code == 0, found.err
    assert values(place / "out", "clinic") == pytest.approx(values(place / "out", "Gradient"))
    again = run(*AUDIT, "--explainer", "Gradient", "--maps", "clinic=maps.npz", "--out", "out")
    assert again.code == 0
    assert "finished before" in again.out
    np.savez(place / "maps.npz", maps=maps + 1)
    other = run(*AUDIT, "--explainer", "Gradient", "--maps", "clinic=maps.npz", "--out", "out")
    assert other.code == 2
    assert "maps" in other.err


def test_maps_that_assay_explain_kept_are_read_from_its_folder(place, run, maps):
    found = run("explain", *AUDIT[1:5], "--explainer", "Gradient", "--maps", "zarr", "--no-overlays", "--out", "maps")
    assert found.code == 0, found.err
    found = run(*AUDIT, "--explainer", "Gradient", "--maps", "kept=maps/maps.zarr", "--out", "out")
    assert found.code == 0, found.err
    assert values(place / "out", "kept") == pytest.approx(values(place / "out", "Gradient"))


def test_without_measures_those_that_explain_anew_are_left_out_and_refused_by_name_when_asked_for(place, run, maps):
    np.save(place / "maps.npy", maps)
    refused = run(*AUDIT, "--measure", "MaxSensitivity", "--maps", "clinic=maps.npy", "--out", "out")
    assert refused.code == 2
    assert "MaxSensitivity explains changed images or models too, but clinic holds maps that were made elsewhere" in refused.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--maps", "clinic=gone.npz"), "there are no maps gone.npz"),
        (("--maps", "few.npy"), "say what tables call the maps of few.npy: NAME=few.npy"),
        (("--maps", "clinic=few.npy"), "there is no map of image 2"),
        (("--maps", "clinic=small.npy"), "resize the maps first"),
    ],
)
def test_maps_that_do_not_fit_are_refused_before_any_work(place, run, maps, words, message):
    np.save(place / "few.npy", maps[:2])
    np.save(place / "small.npy", maps[:, :, ::2])
    found = run(*AUDIT, "--explainer", "Gradient", *words, "--out", "out")
    assert found.code == 2
    assert message in found.err
    assert not (place / "out").exists()


def test_code_of_ones_own_is_imported_and_an_interrupted_run_goes_on_with_it_only_when_trusted(place, run):
    (place / "my_explainers.py").write_text(CODE)
    found = run(*AUDIT, "--import", "my_explainers.py", "--explainer", "Halved", "--out", "out")
    assert found.code == 0, found.err
    assert "Halved" in (place / "out" / "environment.json").read_text()
    refused = run("run", "resume", "out")
    assert refused.code == 2
    assert "import code" in refused.err
    assert run("run", "resume", "out", "--trust").code == 0


def test_code_that_is_not_there_is_named(place, run):
    found = run(*AUDIT, "--import", "gone.py", "--out", "out")
    assert found.code == 2
    assert "gone.py: there is no such file" in found.err


def test_an_audit_of_scores_alone_takes_the_explainers_that_it_serves(place, run):
    (place / "boxes.py").write_text(BOX)
    found = run("audit", "--model", "python:boxes:make", "--images", "pictures", "--measure", "Deletion(steps=3)", "--out", "out")
    assert found.code == 0, found.err
    assert {"Lime", "KernelShap", "RandomMap"} == set(pl.read_parquet(place / "out" / "scores.parquet")["explainer"])
    refused = run("audit", "--model", "python:boxes:make", "--images", "pictures", "--explainer", "Gradient", "--out", "other")
    assert refused.code == 2
    assert "Gradient needs gradients or layers" in refused.err
    assert not (place / "other").exists()


def test_torch_is_not_asked_to_run_a_pickle_for_maps(place, run):
    torch.save(torch.zeros(3, 8, 8), place / "maps.pt")
    found = run(*AUDIT, "--maps", "clinic=maps.pt", "--out", "out")
    assert found.code == 2
    assert "give a .npy or .npz file, a zarr folder, or a folder" in found.err
