"""SquareAttack against the algorithms of its paper, written out one image at a time."""

import pytest
import torch
from torch import nn

import assay
from assay.attack.ball import ball
from assay.attack.predictions.square import area
from assay.errors import SpecError
from reference import predictions
from reference.nets import Function, plain, seeded

TWINS = {"linf": (predictions.square_linf, 0.03), "l2": (predictions.square_l2, 0.5)}


def pixels(count=3, height=11, width=14):
    return 0.2 + 0.6 * torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


class Safe(nn.Module):
    """No image in the ball is lost, so that every square is tried."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(*plain(nn.Tanh)[:4], nn.AdaptiveAvgPool2d(2), nn.Flatten(), seeded(lambda: nn.Linear(32, 4)))

    def forward(self, x):
        return 10 * self.net(x) + torch.tensor([1000.0, 0, 0, 0])


@pytest.mark.parametrize("norm", TWINS)
def test_it_is_its_slow_twin(norm):
    twin, eps = TWINS[norm]
    model, images, labels = assay.Classifier(Safe()), pixels(), torch.zeros(3, dtype=torch.int64)
    seen = []

    class Watched(assay.SquareAttack):
        def search(self, quarry):
            keep = quarry.keep
            object.__setattr__(quarry, "keep", lambda rows, x, logits: (seen.append((x.clone(), logits)), keep(rows, x, logits)))
            super().search(quarry)

    Watched(eps=eps, norm=norm, queries=40, area=0.5)(model, images, labels)
    assert len(seen) == 41
    for at, image in enumerate(images):
        best, value = twin(Safe().eval(), image, 0, eps, 40, 0.5, index=at)
        margins = torch.stack([predictions.margin(logits[at], 0) for _, logits in seen])
        assert float(margins.max()) == pytest.approx(value, rel=1e-5, abs=1e-3)
        torch.testing.assert_close(seen[int(margins.argmax())][0][at], best, rtol=1e-4, atol=1e-5)
        assert float(margins.max()) > float(margins[0])


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.0)])
def test_it_finds_what_no_gradient_shows(norm, eps):
    """Steps have no gradient: ascent has nothing to go by, squares have."""
    weights = torch.randn(3 * 11 * 14, generator=torch.Generator().manual_seed(1))
    model = assay.Classifier(Function(lambda x: ((x @ weights) * 4).floor() + 0 * x.sum(1), other=0.5))
    images = pixels(16)
    labels = model.predict(images)
    climbed = assay.APGD(eps=eps, norm=norm, steps=10).run(model, images, labels)
    searched = assay.SquareAttack(eps=eps, norm=norm, queries=100).run(model, images, labels)
    assert not climbed.climbed.any()
    assert climbed.right.all()
    assert searched.climbed.all()
    assert not searched.right.all()


def test_results_lie_in_the_ball_and_a_seed_repeats():
    model, images = assay.Classifier(plain()), pixels(4, 8, 8).round()
    labels = model.predict(images)
    for norm, eps in (("linf", 0.2), ("l2", 2.0)):
        attack = assay.SquareAttack(eps=eps, norm=norm, queries=30)
        found = attack(model, images, labels)
        assert found.min() >= 0
        assert found.max() <= 1
        assert ball(norm, eps).contains(found - images).all()
        assert (found != images).any()
        assert torch.equal(found, attack(model, images, labels))
        alone = attack(model, images[2:3], labels[2:3], index=torch.tensor([2]))
        torch.testing.assert_close(alone[0], found[2], rtol=1e-4, atol=1e-5)


def test_each_query_is_one_forward_pass_and_none_goes_backward():
    model, images = assay.Classifier(Safe()), pixels()
    labels = model.predict(images)
    before = model.passes.copy()
    assay.SquareAttack(eps=0.01, queries=17)(model, images, labels)
    spent = model.passes - before
    assert (spent.forward, spent.backward) == (3 * (1 + 1 + 17), 0)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 3), (5, 4)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_small_images_are_searched_too(norm, size):
    net = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * size[0] * size[1], 3)))
    model, images = assay.Classifier(net), pixels(2, *size)
    found = assay.SquareAttack(eps=0.3, norm=norm, queries=20)(model, images, model.predict(images))
    assert found.isfinite().all()


def test_the_area_is_halved_nine_times():
    assert [area(0.8, query, 10000) for query in (0, 10, 11, 51, 9999)] == [0.8, 0.8, 0.4, 0.2, 0.8 / 2**9]
    assert area(0.8, 499, 500) == 0.8 / 2**9


@pytest.mark.parametrize(("wrong", "message"), [({"queries": 0}, "queries"), ({"norm": "l1"}, "norm"), ({"area": 0.0}, "area")])
def test_wrong_parameters_are_refused_by_name(wrong, message):
    with pytest.raises(SpecError, match=message):
        assay.SquareAttack(**wrong)
