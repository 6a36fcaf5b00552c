"""What measures, attacks and certificates say in words that they take is what the model counts; explainers say it in numbers."""

import dataclasses

import pytest
import torch

import assay
from assay.attack.base import Attack
from assay.explain.base import check_case
from assay.measure.base import with_masks
from reference.nets import normed
from reference.specs import cheap, own

COUNT, SIZE = 5, 9
TARGETS = torch.tensor([1, 0, 3, 2, 2])
FORWARD, BACKWARD = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
SMOOTH = assay.SmoothGrad(sigma=0.1, samples=4)
MAP = SMOOTH.cost.forward * FORWARD + SMOOTH.cost.backward * BACKWARD
SEEN = MAP + FORWARD
"""A map and a forward pass."""


def grounds(measure):
    """Backgrounds per image: one that is the same for all images is run once."""
    return 1 / COUNT if isinstance(measure.background, assay.Constant) else 1


NONE = 0 * FORWARD
MEASURES = {
    "none": lambda _: (NONE, NONE),
    "1 forward per cell of an image, however many maps": lambda one: (one.segments.rows * one.segments.columns * FORWARD, NONE),
    "1 forward per group of an image, however many maps": lambda one: (one.groups * FORWARD, NONE),
    "1 forward per map and fraction, 2 where pixels tie": lambda one: (NONE, len(one.fractions) * FORWARD),
    "1 forward per map, 2 where pixels tie": lambda _: (NONE, FORWARD),
    "`samples` forward per image, however many maps": lambda one: (one.samples * FORWARD, NONE),
    "`samples` forward per image at the most, however many maps": lambda one: (one.samples * FORWARD, NONE),
    "`samples` times the explainer's per map": lambda one: (NONE, one.samples * MAP),
    "`draws` times the explainer's per map": lambda one: (NONE, one.draws * MAP),
    "`steps` - 1 forward per map, up to twice that where pixels tie; 1 per background": lambda one: (
        grounds(one) * FORWARD,
        (one.steps - 1) * FORWARD,
    ),
    "the explainer's per map, for another class": lambda _: (NONE, MAP),
    "the explainer's per map, on random weights": lambda _: (NONE, MAP),
    "the explainer's per stage and map, on random weights": lambda _: (NONE, LAYERS * MAP),
    "those of the attack per map, without the clean image's": lambda one: (NONE, of_attack(one.attack, True) - SEEN),
}
"""What the words come to: per image, and per image and map."""
LAYERS = sum(isinstance(one, torch.nn.Conv2d | torch.nn.Linear) for one in normed().modules())


def of_attack(attack, fits):
    """By the words of an attack on `SMOOTH`, where an image's copies fit a chunk or do not."""
    return ATTACKS[type(attack).takes](attack, fits)


def by_ascent(attack, fits):
    copies = (SMOOTH.samples if attack.samples is None else attack.samples) * (FORWARD + BACKWARD)
    climbed = (1 if fits else 2) * copies + copies * BACKWARD + FORWARD  # Noisy copies never show the image itself.
    judged = -(-attack.steps // attack.judge_every)
    return attack.restarts * ((attack.steps + 1) * climbed + (judged + 2) * SEEN) + SEEN + FORWARD


def by_queries(attack, _):
    more = 2 * attack.pairs * attack.steps if attack.method == "differences" else 1
    return (1 + attack.restarts * (attack.steps + more)) * SEEN


ATTACKS = {
    assay.MapAttack.takes: by_ascent,
    assay.BlackBoxMapAttack.takes: by_queries,
    assay.NoiseMapAttack.takes: lambda attack, _: (attack.draws + 1) * SEEN,
}


@pytest.fixture(scope="module")
def batch():
    return torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def counted(model, work):
    """Passes (forward, backward) per image of a second time: what is found out once per network is no part of the cost."""
    work()
    model.passes.forward = model.passes.backward = 0
    work()
    return torch.tensor([model.passes.forward, model.passes.backward]) / COUNT


def test_every_word_on_passes_is_known_here():
    assert {cls.takes for cls in own(assay.Measure)} == set(MEASURES)
    assert {cls.takes for cls in own(Attack)} == set(ATTACKS)


@pytest.mark.parametrize("maps", [1, 3])
@pytest.mark.parametrize("measure", [cheap(cls) for cls in own(assay.Measure)], ids=repr)
def test_a_measure_takes_the_passes_that_it_declares(measure, maps, batch):
    if isinstance(measure, assay.AttackedSimilarity):
        measure = dataclasses.replace(measure, attack=dataclasses.replace(measure.attack, samples=None))
    truth = torch.zeros(COUNT, 1, SIZE, SIZE, dtype=torch.bool)
    truth[:, :, 2:5, 1:6] = True
    given = [torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) for seed in range(maps)]
    model = assay.Classifier(normed(), mean=0.5, std=0.25, chunk=4)
    case = with_masks(check_case(model, batch, TARGETS, 0), truth, ~truth)
    assert case.logits is not None  # The pass of the clean images, which all measures share.
    found = counted(model, lambda: measure.compare(case, given, [SMOOTH] * maps))
    once, each = MEASURES[measure.takes](measure)
    torch.testing.assert_close(found, once + maps * each)


@pytest.mark.parametrize("chunk", [4, 64])
@pytest.mark.parametrize(
    "attack",
    [
        *(cheap(cls) for cls in own(Attack)),
        assay.MapAttack(eps=0.3, steps=5, judge_every=2, restarts=1, samples=None),
        assay.MapAttack(eps=0.3, steps=3, judge_every=3, restarts=3, samples=8),
        assay.BlackBoxMapAttack(eps=0.3, steps=3, restarts=2),
        assay.BlackBoxMapAttack(eps=0.3, steps=3, restarts=2, method="differences", pairs=2),
    ],
    ids=repr,
)
def test_an_attack_takes_the_passes_that_it_declares(attack, chunk, batch):
    model = assay.Classifier(normed(), mean=0.5, std=0.25, chunk=chunk)
    fits = not isinstance(attack, assay.MapAttack) or (attack.samples or SMOOTH.samples) <= chunk
    found = counted(model, lambda: attack(model, SMOOTH, batch, TARGETS))
    torch.testing.assert_close(found, of_attack(attack, fits))


@pytest.mark.parametrize(
    ("smoothing", "samples"),
    [(assay.SmoothGrad(0.3, samples=8), 20), (assay.Smoothed(assay.Sparsified(assay.Gradient()), assay.Gaussian(0.3), samples=8), None)],
    ids=["gradient", "votes"],
)
def test_a_certificate_takes_its_samples_beyond_the_maps_own_passes(smoothing, samples, batch):
    model = assay.Classifier(normed(), mean=0.5, std=0.25, output="probability", chunk=4)
    found = counted(model, lambda: assay.certify(model, batch, smoothing, [0.01, 0.1], samples=samples, targets=TARGETS))
    cost = smoothing.cost
    torch.testing.assert_close(found, (cost.forward + (samples or 0)) * FORWARD + cost.backward * BACKWARD)
