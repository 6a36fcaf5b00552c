import math
import warnings

import pytest
import torch
from torch import nn

import assay
from assay.attack.predictions.prediction import prediction_loss
from assay.errors import ModelError, SpecError, TargetError
from reference.nets import linear, plain

BALLS = pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("l2", 0.2), ("l1", 1.0)])


def pixels(count=16):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.01), ("l2", 0.1)])
def test_on_a_linear_model_exactly_those_within_reach_are_lost(norm, eps, loss):
    """Class 0 wins by w.x + b: it can be turned where the margin is below eps times the dual norm."""
    weights = torch.linspace(-1, 1, 192)
    images = 0.3 + 0.4 * pixels(64)
    bias = -float((images.flatten(1) @ weights).median())
    model = assay.Classifier(linear(weights, bias))
    labels = model.predict(images)
    margin = (images.flatten(1) @ weights + bias).abs()
    reach = eps * (weights.abs().sum() if norm == "linf" else weights.norm())
    attacked = assay.PGD(eps=eps, norm=norm, steps=20, loss=loss)(model, images, labels)
    lost = model.predict(attacked) != labels
    clear = (margin - reach).abs() > 0.02 * reach
    assert torch.equal(lost[clear], (margin < reach)[clear])
    assert 0.05 < lost.float().mean() < 0.95


@BALLS
def test_it_loses_as_many_as_foolboxs(norm, eps):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import foolbox
    net = plain(nn.GELU)
    model = assay.Classifier(net)
    labels = model.predict(pixels(64))
    theirs = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD, "l1": foolbox.attacks.SparseL1DescentAttack}[norm]
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, _, success = theirs(steps=40, rel_stepsize=0.1)(wrapped, pixels(64), labels, epsilons=[eps])
    expected = 1 - success[0].float().mean()
    found = assay.robust_accuracy(model, pixels(64), labels, assay.PGD(eps=eps, norm=norm, steps=40, step=0.1))
    assert 0.1 < expected < 0.9
    assert abs(found - float(expected)) <= 0.05


@BALLS
def test_results_are_inside_the_ball_and_the_pixel_range(norm, eps):
    from assay.attack.ball import ball

    model = assay.Classifier(plain())
    images = pixels().round()
    attacked = assay.PGD(eps=eps, norm=norm)(model, images, model.predict(images))
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert ball(norm, eps).contains(attacked - images).all()
    assert (attacked != images).any()


def test_an_image_that_is_wrong_already_or_cannot_be_turned_stays_as_it_is():
    model = assay.Classifier(plain())
    labels = model.predict(pixels())
    labels[0] = (labels[0] + 1) % 4
    attacked = assay.PGD(eps=0.02)(model, pixels(), labels)
    assert torch.equal(attacked[0], pixels()[0])
    stays = model.predict(attacked) == labels
    assert torch.equal(attacked[stays], pixels()[stays])
    assert assay.robust_accuracy(model, pixels(), labels, assay.PGD(eps=0.0)) == pytest.approx(15 / 16)


def test_an_image_that_is_turned_costs_no_more_steps():
    model = assay.Classifier(plain())
    assay.PGD(eps=0.5, steps=40)(model, pixels(), model.predict(pixels()))
    assert model.passes.backward < 16 * 20


def test_restarts_only_help_and_a_seed_repeats():
    model = assay.Classifier(plain())
    labels = model.predict(pixels(64))

    def left(restarts, seed=0):
        attack = assay.PGD(eps=0.012, steps=3, restarts=restarts)
        return model.predict(attack(model, pixels(64), labels, seed=seed)) == labels

    assert (left(1) | ~left(5)).all()
    assert torch.equal(left(2), left(2))
    alone = assay.PGD(eps=0.02)(model, pixels()[3:4], labels[3:4], index=torch.tensor([3]))
    together = assay.PGD(eps=0.02)(model, pixels(), labels[:16])
    torch.testing.assert_close(alone[0], together[3], rtol=1e-4, atol=1e-5)


def test_wrong_parameters_and_missing_labels_are_refused():
    with pytest.raises(SpecError, match="steps must be at least 1"):
        assay.PGD(steps=0)
    with pytest.raises(SpecError, match="norm"):
        assay.PGD(norm="l0")
    with pytest.raises(TargetError, match="labels"):
        assay.PGD()(assay.Classifier(plain()), pixels(), None)


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_outcomes_do_not_depend_on_the_scale_of_logits(loss):
    def lost(scale):
        net = plain()
        with torch.no_grad():
            net[-1].weight.mul_(scale)
            net[-1].bias.mul_(scale)
        model = assay.Classifier(net)
        return model.predict(assay.PGD(eps=0.012, loss=loss)(model, pixels(32), assay.Classifier(plain()).predict(pixels(32))))

    known = lost(1.0)
    for scale in (0.01, 50.0, 100.0):
        assert torch.equal(lost(scale), known)


def test_no_gradient_to_climb_is_never_robust():
    net = nn.Sequential(nn.Flatten(), nn.Softshrink(2.0), nn.Linear(192, 3))
    model = assay.Classifier(net)
    with pytest.raises(ModelError, match="no gradient to climb at 16 of 16 images"):
        assay.robust_accuracy(model, pixels(), model.predict(pixels()))


def test_the_cross_entropy_does_not_vanish_where_the_label_is_all_but_certain():
    logits = torch.tensor([[200.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    found = prediction_loss("cross_entropy", logits, torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor([math.log(2) - 200, math.log(math.e + math.e**3) - 2]))
