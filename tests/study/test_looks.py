import polars as pl
import pytest
import torch
from torch import nn

import assay
from assay.models.heads import HEADS
from assay.models.targets import Decision
from assay.study.audit.looks import Looks, classes_table, model_looks, model_sentences, random_weights


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)]
        return nn.Sequential(*layers)


def decided(logits, head="softmax", ids=None):
    return Decision(HEADS[head], logits, logits.nan_to_num(0).argmax(1) if ids is None else ids)


def looks_of(logits, head="softmax", ids=None):
    tables = classes_table(decided(logits, head, ids), {})
    return model_looks([tables["classes"]], [tables["flat"]])


def told(looks, model=None, right=None, labelled=0):
    sentences, sound = model_sentences(model or assay.load("hard-digits"), looks, right, labelled, 0)
    return [one.text for one in sentences], sound


def test_what_outputs_come_to_does_not_depend_on_how_they_are_cut():
    logits = torch.randn(9, 4, generator=rng())
    parts = [classes_table(decided(logits[:4]), {"A": 1}), classes_table(decided(logits[4:]), {"A": 2})]
    cut = model_looks([one["classes"] for one in parts], [one["flat"] for one in parts])
    whole = looks_of(logits)
    assert (cut.images, cut.classes, cut.predicted) == (9, 4, whole.predicted)
    assert (cut.confidence, cut.spread) == pytest.approx((whole.confidence, whole.spread))
    assert whole.confidence == pytest.approx(float(logits.softmax(1).amax(1).mean()))
    assert cut.flat == {"A": 3}


def test_outputs_that_are_not_finite_are_left_out():
    logits = torch.randn(3, 4, generator=rng())
    logits[1, 0] = torch.nan
    assert looks_of(logits).images == 2


def test_a_trained_model_on_images_of_several_classes_is_sound():
    assert told(looks_of(6 * torch.eye(10)), right=10, labelled=10) == (
        ["The model is right on 10 of 10 labelled images (72% to 100%)."],
        True,
    )


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (torch.ones(8, 10) * torch.arange(10), "the same for every image"),
        (0.1 * torch.randn(8, 10, generator=torch.Generator().manual_seed(0)), "hardly prefers any class"),
    ],
)
def test_constant_and_guessing_outputs_are_not_sound(logits, words):
    texts, sound = told(looks_of(logits))
    assert not sound
    assert any(words in text for text in texts)


def test_accuracy_that_is_not_shown_to_be_above_a_guess_is_not_sound():
    looks = looks_of(6 * torch.eye(10))
    texts, sound = told(looks, right=2, labelled=20)
    assert not sound
    assert "not shown to be more than guessing" in texts[0]


def test_one_class_probabilities_and_flat_maps_are_named():
    one = looks_of(torch.tensor([[5.0, 0.0], [6.0, 0.0]]))
    assert any("one class for all 2 images" in text for text in told(one)[0])
    soft = assay.Classifier(nn.Sequential(net(), nn.Softmax(1)))
    soft.logits(torch.rand(2, 3, 8, 8, generator=rng()))
    assert any("probabilities already" in text for text in told(one, soft)[0])
    flat = Looks(4, 2, {0: 4}, {0: 2, 1: 2}, confidence=0.9, spread=1.0, flat={"Gradient": 3, "Lime": 0})
    assert any("Gradient (3 of 4)" in text and "Lime" not in text for text in told(flat)[0])


def test_findings_are_looked_at_one_by_one():
    """Of two findings with logits 4 and -4 only the explained one counts, which a softmax over both would not know."""
    logits = torch.tensor([[4.0, 4.0], [3.0, -4.0]])
    looks = looks_of(logits, "sigmoid", torch.zeros(2, dtype=torch.int64))
    assert looks.confidence == pytest.approx(float(logits[:, 0].sigmoid().mean()))
    assert looks.there == 2
    texts, sound = told(looks, right=1, labelled=2)
    assert sound
    assert texts[0].startswith("The model's most probable finding is the labelled one on 1 of 2")
    assert texts[1] == "The explained finding is there on all 2 images."
    unsure = told(looks_of(logits / 1000, "sigmoid", torch.ones(2, dtype=torch.int64)))
    assert not unsure[1]
    assert "is sure of the explained finding nowhere" in unsure[0][0]


def test_values_are_neither_right_nor_guesses_nor_of_one_class():
    assert told(looks_of(torch.tensor([[4.0], [3.0], [-2.0]]), "scalar"), right=3, labelled=3) == ([], True)
    assert "the same for every image" in told(looks_of(torch.ones(3, 1), "scalar"))[0][0]


@pytest.mark.parametrize("seed", range(3))
def test_an_untrained_network_is_told_by_its_weights(seed):
    assert random_weights(assay.Classifier(net(seed)), 0)


@pytest.mark.parametrize("name", ["hard-digits", "vit-cifar10"])
def test_shipped_networks_are_trained(name):
    assert not random_weights(assay.load(name), 0)


def test_one_matrix_alone_is_not_judged():
    assert not random_weights(assay.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 10))), 0)


def test_nothing_is_trusted_of_an_untrained_network():
    images = torch.rand(16, 3, 8, 8, generator=rng())
    found = assay.audit(assay.Classifier(net()), images, explainers=["Gradient"], measures=["Deletion(steps=4)"])
    assert (found.trusted, found.recommended) == ((), None)
    assert "looks untrained" in " ".join(found.verdict)
    assert all(one.tone != "good" for one in found.page.verdict)
    assert found.answers.schema["holds"] == pl.Boolean
