from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
import torch

import assay
from assay.errors import ModelError, SpecError
from assay.models.training.manipulation import Manipulation
from assay.papers.diet.manipulated import Manipulated
from assay.papers.diet.networks import given
from assay.papers.diet.study import plan, run_diet
from assay.papers.diet.verdict import _manipulated
from reference.studies import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    """The shipped network and bytes of images that it knows."""
    batch = assay.data.read(assay.data.load("hard-digits"), range(16))
    return given("hard-digits", CPU, weights=None, pretrained=False, seed=0), (batch.images * 255).round().to(torch.uint8)


def corner(net, images, side):
    """Share of the input gradients' magnitudes in the top left corner."""
    pixels = (images.float() / 255).requires_grad_()
    logits = net(pixels)
    (slopes,) = torch.autograd.grad(logits.amax(1).sum(), pixels)
    sizes = slopes.abs().sum(1)
    return float((sizes[:, :side, :side].sum((1, 2)) / sizes.sum((1, 2))).mean())


def test_a_manipulated_network_answers_as_before_and_its_gradients_move_into_the_corner(digits):
    net, images = digits
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = Manipulation(epochs=25, batch_size=8)(net, images, seed=0)
    pixels = images.float() / 255
    assert float((found(pixels).argmax(1) == net(pixels).argmax(1)).float().mean()) >= 0.9
    assert corner(found, images, 16) > 3 * corner(net, images, 16)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_the_loss_is_the_distance_of_the_answers_less_the_weighted_logarithm_of_the_share_in_the_corner(digits):
    net, images = digits
    pixels = images[:4].float() / 255
    wanted = -0.7 * np.log([corner(net, images[number : number + 1], 32) for number in range(4)]).mean()
    loss = Manipulation(weight=0.7, corner=0.5)._loss(net, net, pixels)
    assert loss.item() == pytest.approx(wanted, rel=1e-4)


def test_the_same_seed_gives_the_same_network_and_another_one_another(digits):
    net, images = digits
    short = Manipulation(epochs=1, batch_size=8)
    one, again, other = (short(net, images, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_that_runs_away_is_an_error_that_names_it(digits):
    net, images = digits
    with pytest.raises(ModelError, match="no longer finite"):
        Manipulation(epochs=3, lr=1e30)(net, images)


@pytest.mark.parametrize("wrong", [{"corner": 0.0}, {"corner": 1.0}, {"epochs": 0}, {"lr": 0.0}, {"weight": -1.0}])
def test_what_is_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        Manipulation(**wrong)


def test_a_study_tells_what_maps_and_masks_of_a_manipulated_baseline_come_to(tmp_path, monkeypatch):
    monkeypatch.setattr("assay.papers.diet.study._drawings", lambda *_: ())
    settings = tiny(manipulation="Manipulation(epochs=2, batch_size=8)", seeds=1)
    jobs = plan(settings)["job"].to_list()
    assert {"manipulated", "manipulated-tune", "manipulated-maps", "manipulated-masks"} <= set(jobs)
    found = run_diet(settings, tmp_path / "run")
    table = pl.read_csv(tmp_path / "run" / "tables" / "manipulated.csv")
    assert set(table["attribution"]) == {f"{name}{more}" for name in ("Gradient", "GradCAM", "mask") for more in ("", ", refined")}
    truth = pl.read_csv(tmp_path / "run" / "tables" / "truth.csv")
    for name, model in (("Gradient", "f_b"), ("mask", "DiET")):
        before = truth.filter((pl.col("attribution") == name) & (pl.col("model") == model))["IoU"].item()
        row = table.filter(pl.col("attribution") == name)
        assert row["IoU, baseline"].item() == pytest.approx(before)
        assert row["change"].item() == pytest.approx(row["IoU, manipulated"].item() - before)
    assert sum(one.text.startswith("Trained to mislead") for one in found.sentences) == 1
    assert (tmp_path / "run" / "jobs" / "manipulated-tune").is_dir()
    every = pl.read_parquet(tmp_path / "run" / "values.parquet")
    gradient = every.filter((pl.col("part") == "manipulated") & (pl.col("attribution") == "Gradient") & (pl.col("measure") == "IoU"))
    assert gradient["value"].mean() == pytest.approx(table.filter(pl.col("attribution") == "Gradient")["IoU, manipulated"].item())


def overlaps(gradient, mask, name="Gradient"):
    """Values of a gradient's map and of the mask, one a scored image."""
    rows = [("f_b", name, number, value) for number, value in enumerate(gradient)]
    rows += [("DiET", "mask", number, value) for number, value in enumerate(mask)]
    return pl.DataFrame(
        [
            {"part": "test", "model": model, "seed": 0, "attribution": name, "measure": "IoU", "image": number, "value": value}
            for model, name, number, value in rows
        ]
    )


@pytest.mark.parametrize(
    ("gradient", "mask", "ending"),
    [
        (0.3, 0.1, "the masks follow it less, by"),
        (0.1, 0.3, "the masks follow it more, by"),
        (0.2, 0.2, "that the masks follow it less is not shown"),
        (0.0, -0.1, "the training did not mislead {}, so nothing follows for the masks"),
    ],
)
@pytest.mark.parametrize("edges", [False, True])
def test_the_sentence_says_no_more_than_the_paired_falls_do_and_holds_like_against_like(gradient, mask, ending, edges):
    name = "Gradient, refined" if edges else "Gradient"

    noise = np.random.default_rng(0).normal(0, 0.01, (2, 40))
    before = overlaps([0.8] * 40, [0.9] * 40, name)
    after = overlaps(0.8 - gradient - noise[0], 0.9 - mask - noise[1], name)

    class Stand:
        long, manipulated = before, Manipulated(after, np.arange(40) > 0)
        finals: ClassVar = {"DiET": (SimpleNamespace(diet=assay.DiET(edges=edges)),)}

    (said,) = _manipulated(Stand, "DiET")
    assert "97.5%" in said.text
    assert ending.format(name) in said.text
