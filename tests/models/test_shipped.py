"""The networks that come with the package, against the table of how they are trained and what they were asked to reach."""

from importlib.resources import files

import pytest
import torch

import assay
from assay.core.registry import build
from assay.models.nets.architecture import Architecture
from assay.models.nets.named import named_architecture
from assay.models.sources import checkpoint
from assay.models.sources.card import from_json
from assay.models.training.recipe import Recipe
from assay.papers.robustness.networks import JUDGE, ROBUST, TRAININGS, default_models

NAMES = default_models("small")
each = pytest.mark.parametrize("name", NAMES)


def card_of(name):
    """The shipped card; that of what a network goes on from comes without its weights."""
    return from_json((files("assay.models") / "weights" / f"{name}.json").read_text("utf-8"), name)


def test_what_a_shipped_network_goes_on_from_has_its_training_in_the_table_too():
    starts = {TRAININGS[name].start for name in NAMES} - {None}
    assert starts - set(NAMES) == {"resnet-cifar10-first"}
    for name in starts:
        card, training = card_of(name), TRAININGS[name]
        assert build(card.recipe, Recipe) == training.recipe
        assert build(card.architecture, Architecture) == named_architecture(training.architecture, 10)


def test_the_eight_networks_of_the_robustness_study_are_shipped_in_12_megabytes():
    assert {*NAMES, "hard-digits"} == set(checkpoint.shipped())
    home = files("assay.models") / "weights"
    assert sum(len((home / f"{name}.safetensors").read_bytes()) for name in NAMES) <= 12e6


@each
def test_a_card_tells_the_training_of_the_table(name):
    _, card = checkpoint.read(name)
    training = TRAININGS[name]
    assert build(card.architecture, Architecture) == named_architecture(training.architecture, 10)
    assert build(card.recipe, Recipe) == training.recipe
    assert card.start == (None if training.start is None else card_of(training.start).sha256)
    assert (card.seed, card.stored, card.train.count, card.test.count) == (0, "float16", 50000, 5000)
    assert card.command.startswith("assay train --data cifar10")


@each
def test_accuracy_and_robust_accuracy_are_those_that_were_asked_for(name):
    _, card = checkpoint.read(name)
    assert card.robust is not None
    assert build(card.robust.attack) == JUDGE
    if name.endswith(ROBUST):
        assert card.robust.accuracy.value >= 0.40
    else:
        assert card.robust.accuracy.value <= 0.15
        assert card.test_accuracy.value >= (0.88 if name == "resnet-cifar10" else 0.70)


@each
def test_a_shipped_network_classifies_and_explains(name):
    model = assay.load(name)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert model.classes[3] == "cat"
    assert model.logits(images).shape == (2, 10)
    assert assay.Gradient()(model, images).abs().amax((1, 2, 3)).gt(0).all()
