"""The networks that come with the package, against the table of how they are trained and what they were asked to reach."""

from dataclasses import replace
from importlib.resources import files

import pytest
import torch

import assay
from assay.core.registry import build
from assay.models.nets.architecture import Architecture
from assay.models.nets.named import named_architecture
from assay.models.sources import checkpoint
from assay.models.sources.model_card import from_json
from assay.models.sources.trainings import FIRST, ROBUST, TRAININGS, TWINS, is_robust
from assay.models.training.adversary import Adversary
from assay.models.training.recipe import Recipe

NAMES = tuple(name for name in TRAININGS if name in checkpoint.shipped())
each = pytest.mark.parametrize("name", NAMES)
_HARDEST = {"resnet": 0.88, "vgg": 0.8, "bottleneck": 0.8, "googlenet": 0.8, "convmixer": 0.8}
"""Accuracies asked of standard networks; of the others 0.68."""


def card_of(name):
    """The shipped card; that of what a network goes on from comes without its weights."""
    return from_json((files("assay.models") / "weights" / f"{name}.json").read_text("utf-8"), name)


def recipe_of(training):
    return replace(training.recipe, adversary=None if training.adversary is None else build(training.adversary, Adversary))


def test_what_a_shipped_network_goes_on_from_has_its_training_in_the_table_too():
    starts = {TRAININGS[name].start for name in NAMES} - {None}
    assert starts - set(NAMES) == {f"resnet-cifar10{FIRST}"}
    for name in starts:
        card, training = card_of(name), TRAININGS[name]
        assert build(card.recipe, Recipe) == recipe_of(training)
        assert build(card.architecture, Architecture) == named_architecture(training.architecture, 10)


def test_every_shipped_network_is_in_the_table_and_all_fit_into_22_megabytes():
    assert {*NAMES, "hard-digits"} == set(checkpoint.shipped())
    home = files("assay.models") / "weights"
    assert sum(len((home / f"{name}.safetensors").read_bytes()) for name in checkpoint.shipped()) <= 22e6


@pytest.mark.parametrize("name", [name for name in TRAININGS if name not in checkpoint.shipped()])
def test_a_network_that_is_not_shipped_is_told_with_the_command_that_makes_it(name):
    with pytest.raises(assay.AssayError, match=f"{name} do not come with the package; make them by assay train --data cifar10"):
        assay.load(name)


@each
def test_a_card_tells_the_training_of_the_table(name):
    _, card = checkpoint.read_checkpoint(name)
    training = TRAININGS[name]
    assert build(card.architecture, Architecture) == named_architecture(training.architecture, 10)
    assert build(card.recipe, Recipe) == recipe_of(training)
    assert card.start == (None if training.start is None else card_of(training.start).sha256)
    assert (card.seed, card.stored, card.train.count, card.test.count) == (0, "float16", 50000, 5000)
    assert "assay train --data cifar10" in card.command


@each
def test_accuracy_and_robust_accuracy_are_those_that_were_asked_for(name):
    _, card = checkpoint.read_checkpoint(name)
    training = TRAININGS[name]
    assert card.robust is not None
    assert build(card.robust.attack) == build(training.judge)
    assert card.robust.accuracy.count == (training.attacked or 5000)
    if name.endswith(ROBUST):
        assert card.robust.accuracy.value >= 0.40
    elif name.endswith(TWINS):
        assert card.robust.accuracy.value >= (0.22 if name.startswith("swin") else 0.30)
    else:
        assert card.robust.accuracy.value <= (0.15 if "norm='l2'" in card.robust.attack else 0.03)
        assert card.test_accuracy.value >= _HARDEST.get(name.partition("-")[0], 0.68)
    assert is_robust(name) == (training.adversary is not None)


@each
def test_a_shipped_network_classifies_and_explains(name):
    model = assay.load(name)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert model.classes[3] == "cat"
    assert model.logits(images).shape == (2, 10)
    assert assay.Gradient()(model, images).abs().amax((1, 2, 3)).gt(0).all()
