"""The worst case over attacks, and what counts as robust."""

import pytest
import torch
from torch import nn

import assay
from assay.attack.predictions.ensemble import withstood
from assay.errors import ModelError, SpecError
from reference.nets import Function, plain


def pixels(count=32, size=8):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.01), ("l2", 0.1)])
def test_what_it_leaves_withstood_every_part_alone(norm, eps):
    model, images = assay.Classifier(plain()), pixels()
    labels = model.predict(images)
    left, _ = withstood(model, images, labels, assay.AttackEnsemble(eps, norm, steps=20, queries=50))
    for part in (assay.APGD(eps, norm, 20, loss="margin"), assay.APGD(eps, norm, 20, loss="dlr"), assay.SquareAttack(eps, norm, 50)):
        alone, _ = withstood(model, images, labels, part)
        assert not (left & ~alone).any()
    assert 0 < left.sum() < 32


def test_robust_accuracy_is_the_ensembles_unless_another_is_given():
    model, images = assay.Classifier(plain()), pixels(8)
    labels = model.predict(images)
    labels[0] = (labels[0] + 1) % 4
    left, _ = withstood(model, images, labels, assay.AttackEnsemble())
    assert assay.robust_accuracy(model, images, labels) == left.float().mean()
    assert assay.robust_accuracy(model, images, labels, assay.APGD(eps=0.0)) == 7 / 8


def test_what_withstands_costs_the_passes_of_all_parts_and_what_is_lost_no_more():
    images = pixels(4)
    model = assay.Classifier(nn.Sequential(plain(), Lead(200.0)))
    labels = model.predict(images)
    before = model.passes.copy()
    assay.AttackEnsemble(0.001, steps=5, queries=7)(model, images, labels)
    spent = model.passes - before
    assert (spent.forward, spent.backward) == (4 * (1 + 2 * 6 + 8), 4 * 2 * 5)


class Lead(nn.Module):
    def __init__(self, lead):
        super().__init__()
        self.lead = lead

    def forward(self, logits):
        return logits + self.lead * torch.tensor([1.0, 0, 0, 0])


def test_two_classes_are_attacked_by_the_margin_where_the_ratio_says_nothing():
    weights = torch.linspace(-1, 1, 192)
    model = assay.Classifier(Function(lambda x: x @ weights))
    images = pixels()
    labels = model.predict(images)
    one, other = (assay.APGD(eps=0.02, loss=loss)(model, images, labels) for loss in ("margin", "dlr"))
    assert torch.equal(one, other)
    assert (one != images).any()


BLIND = {
    "softshrink": lambda: nn.Sequential(nn.Flatten(), nn.Softshrink(2.0), nn.Linear(192, 3)),
    "steps": lambda: Function(lambda x: (x.mean(1) * 100).floor() + 0 * x.sum(1), other=20.0),
}


@pytest.mark.parametrize("kind", BLIND)
def test_no_gradient_to_climb_is_never_robust_whatever_squares_say(kind):
    model, images = assay.Classifier(BLIND[kind]()), 0.3 + 0.4 * pixels(6)
    labels = model.predict(images)
    for attack in (assay.PGD(0.01), assay.APGD(0.01), assay.APGD(0.01, loss="dlr"), assay.AttackEnsemble(0.01, steps=5, queries=5)):
        robust, blind = withstood(model, images, labels, attack)
        assert not robust.any()
        assert blind.any()
        with pytest.raises(ModelError, match="no gradient to climb"):
            assay.robust_accuracy(model, images, labels, attack)


def test_findings_are_attacked_by_their_own_margin_whatever_the_others_are():
    """One finding of three: the scale of the others must not matter."""

    class Findings(nn.Module):
        def __init__(self, other):
            super().__init__()
            self.net, self.other = plain(), other

        def forward(self, x):
            return self.net(x) * torch.tensor([1.0, self.other, self.other, self.other])

    images = pixels()
    small, large = (assay.Classifier(Findings(other), head="sigmoid") for other in (0.001, 1000.0))
    there = small.logits(images)[:, 0] > 0
    labels = torch.zeros(int(there.sum()), dtype=torch.int64)
    for attack in (assay.PGD(0.05), assay.APGD(0.05, steps=20), assay.SquareAttack(0.1, queries=20), assay.AttackEnsemble(0.05)):
        one, other = (attack(model, images[there], labels) for model in (small, large))
        assert torch.equal(one, other)
        assert (one != images[there]).any()
    one, other = (assay.MapAttack(0.05, steps=4)(model, assay.Gradient(), images[there], labels).images for model in (small, large))
    assert torch.equal(one, other)


def test_wrong_parameters_are_refused_by_name():
    for wrong in ({"norm": "l1"}, {"steps": 0}, {"queries": 0}, {"eps": -1.0}):
        with pytest.raises(SpecError, match=next(iter(wrong))):
            assay.AttackEnsemble(**wrong)
