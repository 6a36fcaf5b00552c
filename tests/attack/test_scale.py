"""Outcomes of every attack are the same for a network whose logits are multiplied by any number."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import assay
from assay.attack.predictions.prediction import PredictionAttack
from reference.nets import plain
from reference.specs import own

SMALL = {
    "PGD": [assay.PGD(0.012, steps=6, loss=loss) for loss in ("cross_entropy", "margin")],
    "APGD": [assay.APGD(0.012, steps=8, loss=loss) for loss in ("cross_entropy", "margin", "dlr")],
    "SquareAttack": [assay.SquareAttack(0.05, queries=12), assay.SquareAttack(0.6, "l2", queries=12)],
    "AttackEnsemble": [assay.AttackEnsemble(0.012, steps=4, queries=6)],
    "MapAttack": [
        assay.MapAttack(0.03, steps=4, goal=goal)
        for goal in (assay.PushOutTopK(), assay.MoveCentre(), assay.ReachMap(), assay.MaximiseDistance(assay.L2()))
    ],
    "BlackBoxMapAttack": [assay.BlackBoxMapAttack(0.03, steps=4, method=method) for method in ("squares", "differences")],
    "NoiseMapAttack": [assay.NoiseMapAttack(0.03, draws=2)],
}
HEADS = st.sampled_from(["softmax", "sigmoid"])


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.net, self.scale = plain(), scale

    def forward(self, x):
        return self.net(x) * self.scale


@cache
def found(attack, scale, head, explainer):
    model, images = assay.Classifier(Scaled(scale), head=head), torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = assay.Classifier(Scaled(1.0), head=head).predict(images)
    if isinstance(attack, PredictionAttack):
        return attack(model, images, labels)
    return attack(model, explainer, images, labels).images


def test_every_attack_is_tried():
    assert {cls.__name__ for base in (assay.Attack, PredictionAttack) for cls in own(base)} == set(SMALL)


@pytest.mark.parametrize("attack", [one for many in SMALL.values() for one in many], ids=repr)
@given(power=st.integers(-7, 7), head=HEADS)
@settings(max_examples=6)
def test_a_power_of_two_changes_no_bit_of_what_is_found(attack, power, head):
    assert torch.equal(found(attack, 2.0**power, head, assay.Gradient()), found(attack, 1.0, head, assay.Gradient()))


@pytest.mark.parametrize("scale", [0.01, 0.1, 50.0, 100.0])
@pytest.mark.parametrize("attack", [many[0] for many in SMALL.values()], ids=repr)
def test_other_numbers_change_nothing_but_rounding(attack, scale):
    one, other = (found(attack, each, "softmax", assay.Gradient()) for each in (scale, 1.0))
    assert ((one - other).abs().amax((1, 2, 3)) < 1e-4).float().mean() >= 0.8


@pytest.mark.parametrize(
    "explainer", [assay.GradCAM(), assay.FullGrad(), assay.SmoothGrad(0.1, samples=2), assay.KernelShap(20, assay.Grid(2, 2))]
)
def test_maps_of_other_explainers_are_attacked_alike_too(explainer):
    attack = assay.MapAttack(0.05, steps=3, goal=assay.MaximiseDistance(assay.L2()))
    one, other = (found(attack, each, "softmax", explainer) for each in (64.0, 1.0))
    assert ((one - other).abs().amax((1, 2, 3)) < 1e-4).float().mean() >= 0.8
