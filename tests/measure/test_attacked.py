import pytest
import torch
from torch import nn

import assay
from assay.errors import SpecError
from assay.measure.attacked import blind_like, noise_like
from reference.nets import Function, plain

ATTACK = assay.MapAttack(eps=0.05, steps=8)


def pixels(count=6):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def classifier():
    return assay.Classifier(plain(), mean=0.5, std=0.25)


def score(measure, explainer, model=None, **more):
    model = model or classifier()
    maps = explainer(model, pixels(), **more)
    return measure(model, pixels(), maps, explainer=explainer, **more)


@pytest.mark.parametrize("distance", [assay.TopK(0.2), assay.Cosine(), assay.Spearman(), assay.SSIM()], ids=repr)
def test_it_is_one_minus_the_distance_to_the_attacked_map(distance):
    explainer = assay.SmoothGrad(0.1, samples=4)
    index = torch.tensor([5, 1, 9, 0, 2, 3])
    found = score(assay.AttackedSimilarity(ATTACK, distance), explainer, seed=3, index=index)
    result = ATTACK(classifier(), explainer, pixels(), seed=3, index=index)
    torch.testing.assert_close(found, 1 - distance(result.maps, result.attacked_maps))


def test_a_linear_models_gradient_keeps_all():
    model = assay.Classifier(Function(lambda x: x @ torch.linspace(-1, 1, 192)))
    empty = model.predict(pixels()) == 1  # class 1 is constant, and its map of zeros has no score
    expected = torch.ones(6).masked_fill(empty, torch.nan)
    torch.testing.assert_close(score(assay.AttackedSimilarity(ATTACK), assay.Gradient(), model), expected, equal_nan=True)


def test_a_map_that_had_no_gradient_to_climb_is_not_called_robust():
    """Signs that jump: the map moves with the pixels, and its derivative is 0 wherever there is one."""
    model = assay.Classifier(Function(lambda x: (x - 0.5).abs().sum(1)))
    assert score(assay.AttackedSimilarity(ATTACK, assay.TopK(0.2)), assay.Gradient(), model).isnan().all()


def test_explainers_without_a_derivative_are_attacked_otherwise():
    other = assay.BlackBoxMapAttack(eps=0.05, steps=5)
    found = score(assay.AttackedSimilarity(ATTACK, assay.TopK(0.2), other), assay.RandomMap())
    result = other(classifier(), assay.RandomMap(), pixels())
    torch.testing.assert_close(found, 1 - assay.TopK(0.2)(result.maps, result.attacked_maps))


def test_passes_are_those_of_the_attack_and_the_maps_that_are_there_are_not_made_again():
    model = classifier()
    explainer = assay.Gradient()
    maps = explainer(model, pixels())
    model.passes.backward = 0
    assay.AttackedSimilarity(ATTACK)(model, pixels(), maps, explainer=explainer)
    mine, model.passes.backward = model.passes.backward, 0
    ATTACK(model, explainer, pixels())
    assert mine == model.passes.backward - len(pixels())


def test_a_distance_that_has_no_end_is_refused():
    for distance in (assay.L2(), assay.CentreShift()):
        with pytest.raises(SpecError, match="no similarity"):
            assay.AttackedSimilarity(distance=distance)


def test_the_curve_falls_from_one_faster_under_attack_than_under_noise():
    curve = assay.attack_curve(classifier(), assay.Gradient(), pixels(), [0.0, 0.02, 0.06], ATTACK, assay.Cosine())
    assert curve.eps == (0.0, 0.02, 0.06)
    assert curve.attacked.shape == curve.noise.shape == (3, 6)
    torch.testing.assert_close(curve.attacked[0], torch.ones(6))
    attacked, noise = curve.attacked.mean(1), curve.noise.mean(1)
    assert (attacked.diff() < 0).all()
    assert (attacked[1:] < noise[1:]).all()
    torch.testing.assert_close(curve.gap, curve.noise - curve.attacked)


def test_the_floor_has_the_attacks_ball_goal_and_constraints():
    attack = assay.MapAttack(0.3, "l2", goal=assay.MoveCentre(), keep_class=False, tolerance=0.1)
    assert noise_like(attack) == assay.NoiseMapAttack(0.3, "l2", assay.MoveCentre(), 1, False, 0.1)
    blind = assay.BlackBoxMapAttack(0.3, "l2", 7, assay.MoveCentre(), keep_class=False, tolerance=0.1)
    assert (blind_like(attack, 7), blind_like(attack).steps) == (blind, 50)


def test_smoothing_helps_against_attacks_on_a_curved_network():
    model = assay.Classifier(plain(nn.Softplus), mean=0.5, std=0.05)
    measure = assay.AttackedSimilarity(assay.MapAttack(eps=0.02, steps=15, goal=assay.MaximiseDistance()), assay.Cosine())
    bare, smoothed = (score(measure, explainer, model).mean() for explainer in (assay.Gradient(), assay.SmoothGrad(0.2, samples=32)))
    assert smoothed > bare
