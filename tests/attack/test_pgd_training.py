import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from assay.attack.ball import ball
from assay.attack.predictions.pgd_training import PGDTraining
from assay.core.registry import build
from assay.errors import SpecError
from assay.models.nets.architectures import SmallResNet
from assay.models.training.adversary import Adversary
from assay.models.training.draws import Draws
from assay.models.training.fitting import Examples, Fitting
from assay.models.training.recipe import Recipe
from reference.nets import plain

GREY = torch.full((4, 3, 8, 8), 0.5)


def draws(count, epoch=0):
    return Draws(3, "adversary", torch.arange(count), epoch)


def slope(seed=0):
    return torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(seed))


def linear(weight):
    return lambda pixels: (pixels * weight).flatten(1).sum(1)


def test_one_step_of_l2_on_a_linear_loss_is_exact():
    weight = slope()
    moved = PGDTraining(eps=0.5, norm="l2", step=1.0, random_start=False)(linear(weight), GREY, draws(4))
    assert torch.allclose(moved - GREY, (0.5 * weight / weight.norm()).expand_as(GREY), atol=1e-6)


def test_one_step_of_linf_on_a_linear_loss_is_exact():
    weight = slope()
    moved = PGDTraining(eps=8 / 255, step=1.0, random_start=False)(linear(weight), GREY, draws(4))
    assert torch.allclose(moved - GREY, (8 / 255 * weight.sign()).expand_as(GREY), atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_many_steps_from_anywhere_end_at_the_worst_point_of_a_linear_loss(norm):
    weight = slope()
    moved = PGDTraining(eps=0.3, norm=norm, steps=40, step=0.5)(linear(weight), GREY, draws(4))
    worst = 0.3 * (weight.abs().sum() if norm == "linf" else weight.norm())
    assert torch.allclose(linear(weight)(moved - GREY), worst.expand(4), rtol=1e-3)


@given(st.sampled_from(["linf", "l2", "l1"]), st.floats(0, 3), st.integers(1, 4), st.booleans(), st.integers(0, 5))
def test_what_comes_out_is_in_the_ball_and_an_image(norm, eps, steps, random_start, seed):
    pixels = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    moved = PGDTraining(eps, norm, steps, random_start=random_start)(linear(slope(seed)[:, :6, :6]), pixels, draws(3))
    assert bool(ball(norm, eps).contains(moved - pixels, 1e-5).all())
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    assert not moved.requires_grad


def test_the_start_depends_on_the_image_and_the_epoch_alone():
    attack, flat = PGDTraining(eps=1.0, norm="l2"), lambda pixels: 0 * pixels.flatten(1).sum(1)
    whole, part = attack(flat, GREY, draws(4)), attack(flat, GREY[2:], Draws(3, "adversary", torch.tensor([2, 3])))
    assert torch.equal(whole[2:], part)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole, attack(flat, GREY, draws(4, epoch=1)))


def test_more_steps_raise_the_loss_of_a_network_further():
    net, labels = plain(), torch.tensor([0, 1, 2, 3])
    pixels = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def loss(changed):
        return cross_entropy(net(changed), labels, reduction="none")

    losses = [float(loss(PGDTraining(0.3, "l2", steps)(loss, pixels, draws(4))).mean().detach()) for steps in (1, 10)]
    assert float(loss(pixels).mean().detach()) < losses[0] < losses[1]


@pytest.mark.parametrize(
    ("parameters", "named"), [({"eps": -1.0}, "eps"), ({"eps": math.inf}, "eps"), ({"norm": "l3"}, "norm"), ({"steps": 0}, "steps")]
)
def test_an_impossible_adversary_is_refused_by_name(parameters, named):
    with pytest.raises(SpecError, match=named):
        PGDTraining(**parameters)


def test_a_recipe_holds_its_adversary_in_its_spec():
    recipe = Recipe(adversary=PGDTraining(eps=0.5, norm="l2", steps=7))
    assert build(repr(recipe), Recipe) == recipe
    assert isinstance(recipe.adversary, Adversary)


TINY = SmallResNet(classes=2, widths=(8,), blocks=(1,), strides=(2,), stem=8)
STANDARD = Recipe(epochs=4, batch_size=16, lr=0.05, precision="float32", label_smoothing=0.0)
LOSSES = {
    None: [0.69433, 0.52051, 0.39371, 0.31434],
    PGDTraining(eps=0.5, norm="l2"): [0.82784, 0.64812, 0.55673, 0.48251],
    PGDTraining(eps=4 / 255, steps=3): [0.76074, 0.56624, 0.44129, 0.35702],
}
"""Measured when the loop was written: they fall, and lie higher the stronger the adversary."""


def examples():
    """Stripes down or across under noise."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(60, 160, (64, 3, 8, 8), dtype=torch.uint8, generator=draw)
    images[::2, :, ::2] += 60
    images[1::2, :, :, ::2] += 60
    return Examples(images, torch.arange(64) % 2, (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize("adversary", LOSSES, ids=lambda adversary: "standard" if adversary is None else adversary.norm)
def test_the_loss_curve_is_the_golden_one(adversary):
    fitting = Fitting(TINY.make(1), examples(), dataclasses.replace(STANDARD, adversary=adversary), 2)
    losses = [fitting.epoch().loss for _ in range(4)]
    assert losses == pytest.approx(LOSSES[adversary], rel=1e-3)


def test_an_attack_while_training_leaves_running_statistics_and_mode_alone():
    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head, self.modes = nn.BatchNorm2d(3), nn.Linear(192, 2), []

        def forward(self, x):
            self.modes.append(self.training)
            return self.head(self.norm(x).flatten(1))

    net = Watching()
    Fitting(net, examples(), dataclasses.replace(STANDARD, batch_size=64, adversary=PGDTraining(0.5, "l2", steps=2)), 0).epoch()
    assert net.modes == [False, False, True]
    assert net.training
    assert int(net.norm.num_batches_tracked) == 1
