"""APGD against algorithm 1 of its paper, written out one image at a time, and where the outcome is known."""

import pytest
import torch
from torch import nn

import assay
from assay.attack.ball import ball
from assay.attack.predictions.apgd import checkpoints
from assay.errors import SpecError
from reference import predictions
from reference.nets import linear, plain

LOSSES = {"margin": predictions.margin, "dlr": predictions.dlr}


def pixels(count=8, size=8, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Safe(nn.Module):
    """A network with a constant on one class, so that no image in the ball is lost and every step is taken."""

    def __init__(self, net, lead):
        super().__init__()
        self.net, self.lead = net, lead

    def forward(self, x):
        return self.net(x) + self.lead


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.03), ("l2", 0.5)])
@pytest.mark.parametrize("steps", [10, 37])
def test_it_is_its_slow_twin(norm, eps, loss, steps):
    net = Safe(plain(nn.GELU), torch.tensor([60.0, 0, 0, 0])).double()
    model = assay.Classifier(Safe(plain(nn.GELU), torch.tensor([60.0, 0, 0, 0])))
    seen = []

    class Watched(assay.APGD):
        def search(self, quarry):
            keep = quarry.keep
            object.__setattr__(quarry, "keep", lambda rows, x, logits: (seen.append((x.clone(), logits)), keep(rows, x, logits)))
            super().search(quarry)

    images, labels = 0.2 + 0.6 * pixels(4), torch.zeros(4, dtype=torch.int64)
    left = Watched(eps=eps, norm=norm, steps=steps, loss=loss)(model, images, labels)
    assert torch.equal(left, images)
    assert len(seen) == steps + 1
    for at, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        _, best, eta = predictions.apgd(net, image.double(), label, eps, norm, steps, index=at, loss=LOSSES[loss])
        found = max(float(LOSSES[loss](logits[at].double(), label)) for _, logits in seen)
        assert found == pytest.approx(best, rel=1e-3, abs=1e-3)
        assert steps == 10 or min(eta.values()) < 2 * eps


def test_the_step_is_looked_at_when_the_paper_says():
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert max(checkpoints(7)) <= 7


@pytest.mark.parametrize("loss", ["margin", "dlr", "cross_entropy"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.01), ("l2", 0.1)])
def test_on_a_linear_model_exactly_those_within_reach_are_lost(norm, eps, loss):
    """Class 0 leads by w.x + b: it can be turned where that is below eps times the dual norm."""
    weights = torch.linspace(-1, 1, 192)
    images = 0.3 + 0.4 * pixels(64)
    bias = -float((images.flatten(1) @ weights).median())
    model = assay.Classifier(linear(weights, bias))
    labels = model.predict(images)
    lead = (images.flatten(1) @ weights + bias).abs()
    reach = eps * (weights.abs().sum() if norm == "linf" else weights.norm())
    lost = model.predict(assay.APGD(eps=eps, norm=norm, steps=40, loss=loss)(model, images, labels)) != labels
    clear = (lead - reach).abs() > 0.02 * reach
    assert torch.equal(lost[clear], (lead < reach)[clear])
    assert 0.05 < lost.float().mean() < 0.95


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.012), ("l2", 0.12)])
def test_it_finds_at_least_what_pgd_finds(norm, eps):
    model, images = assay.Classifier(plain()), pixels(64)
    labels = model.predict(images)
    left = {}
    for attack in (assay.PGD(eps=eps, norm=norm, steps=50, restarts=1), assay.APGD(eps=eps, norm=norm, steps=50)):
        left[type(attack).__name__] = (model.predict(attack(model, images, labels)) == labels).sum()
    assert 8 < left["APGD"] <= left["PGD"] < 60


def test_results_lie_in_the_ball_and_a_seed_repeats():
    model, images = assay.Classifier(plain()), pixels().round()
    labels = model.predict(images)
    for norm, eps in (("linf", 0.3), ("l2", 2.0)):
        attack = assay.APGD(eps=eps, norm=norm, steps=12, restarts=2)
        found = attack(model, images, labels)
        assert found.min() >= 0
        assert found.max() <= 1
        assert ball(norm, eps).contains(found - images).all()
        assert torch.equal(found, attack(model, images, labels))
        alone = attack(model, images[3:4], labels[3:4], index=torch.tensor([3]))
        torch.testing.assert_close(alone[0], found[3], rtol=1e-4, atol=1e-5)


def test_passes_are_counted_and_an_image_that_is_lost_costs_no_more():
    images = pixels()
    model = assay.Classifier(Safe(plain(), torch.tensor([60.0, 0, 0, 0])))
    labels = model.predict(images)
    before = model.passes.copy()
    assay.APGD(eps=0.01, steps=12)(model, images, labels)
    spent = model.passes - before
    assert (spent.forward, spent.backward) == (8 * (1 + 12 + 1), 8 * 12)
    model = assay.Classifier(plain())
    assay.APGD(eps=0.5, steps=100)(model, images, model.predict(images))
    assert model.passes.backward < 8 * 20


@pytest.mark.parametrize(
    ("wrong", "message"), [({"steps": 0}, "steps"), ({"norm": "l0"}, "norm"), ({"loss": "hinge"}, "loss"), ({"rho": 0.0}, "rho")]
)
def test_wrong_parameters_are_refused_by_name(wrong, message):
    with pytest.raises(SpecError, match=message):
        assay.APGD(**wrong)
