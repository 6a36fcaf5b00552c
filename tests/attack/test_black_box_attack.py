import pytest
import torch

import assay
from assay.errors import ShapeError
from reference.nets import plain

GOAL = assay.MaximiseDistance(assay.Cosine())
METHODS = pytest.mark.parametrize("method", ["squares", "differences"])
BALLS = pytest.mark.parametrize(("norm", "eps"), [("linf", 0.04), ("l2", 0.4), ("l1", 4.0)])


def pixels(count=6):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def classifier():
    return assay.Classifier(plain(), mean=0.5, std=0.25)


@pytest.mark.parametrize(("method", "draws"), [("squares", 40), ("differences", 1)])
@BALLS
def test_squares_beat_the_best_noise_of_as_many_draws_and_differences_plain_noise(method, draws, norm, eps):
    attack = assay.BlackBoxMapAttack(eps=eps, norm=norm, steps=40 if method == "squares" else 20, goal=GOAL, method=method)
    noise = assay.NoiseMapAttack(eps=eps, norm=norm, goal=GOAL, draws=draws)
    found, floor = (one(classifier(), assay.Gradient(), pixels()).distance for one in (attack, noise))
    assert found.mean() > 1.1 * floor.mean()


@METHODS
def test_callables_and_explainers_without_a_derivative_are_attacked(method):
    def edges(model, images, targets):
        """Knows nothing of targets, and gives one channel."""
        return images.diff(dim=3, prepend=images[..., :1]).mean(1, keepdim=True)

    attack = assay.BlackBoxMapAttack(eps=0.1, steps=10, goal=GOAL, method=method)
    for explainer in (edges, assay.RandomMap(), assay.Smoothed(assay.KernelShap(8, assay.Grid(2, 2)), samples=2)):
        found = attack(classifier(), explainer, pixels())
        assert (found.distance > 0).all()
        assert found.kept.all()


def no_maps(model, images, targets):
    return images.mean(1)


def test_a_callable_that_gives_no_maps_is_refused():
    with pytest.raises(ShapeError, match="the explainer must give maps"):
        assay.BlackBoxMapAttack()(classifier(), no_maps, pixels())


def test_squares_cost_one_map_and_one_forward_pass_each():
    model = classifier()
    assay.BlackBoxMapAttack(steps=20)(model, assay.Gradient(), pixels())
    assert model.passes.forward == 6 * (2 * 21 + 2)
    assert model.passes.backward == 6 * (21 + 1)


def test_differences_cost_four_for_each_pair_and_two_to_judge():
    model = classifier()
    assay.BlackBoxMapAttack(steps=5, method="differences", pairs=3)(model, assay.Gradient(), pixels())
    assert model.passes.forward == 6 * (5 * (4 * 3 + 2) + 2)


@METHODS
def test_an_image_that_has_reached_the_stop_is_left_alone(method):
    model = classifier()
    attack = assay.BlackBoxMapAttack(eps=0.05, steps=30, goal=GOAL, method=method, stop=1e-6)
    attack(model, assay.Gradient(), pixels())
    assert model.passes.forward < 6 * 30


def test_more_draws_of_noise_reach_at_least_as_much():
    one, many = (assay.NoiseMapAttack(goal=GOAL, draws=draws)(classifier(), assay.Gradient(), pixels()).distance for draws in (1, 8))
    assert (many >= one).all()
    assert (many > one).any()
