"""Slopes of goals through explainers, against differentiating the whole explanation at once."""

import dataclasses

import pytest
import torch
from torch import nn

import assay
from assay.attack import map_attack  # noqa: F401  (which registers the forms)
from assay.attack.forms.form import Step, form
from assay.attack.forms.softened import Softened
from assay.core.noise import derive
from assay.errors import SpecError
from assay.explain.kernels import draw
from assay.explain.path import quadrature
from assay.explain.smooth import with_copies
from reference.nets import plain

COUNT, SIZE = 3, 8
TARGETS = torch.tensor([1, 0, 3])
INDEX = torch.tensor([4, 0, 9])
SEED = 11


def pixels():
    return torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def smooth_model(chunk=None):
    return assay.Classifier(plain(nn.GELU), mean=0.5, std=0.3, chunk=chunk)


def goal(maps, rows):
    """A goal that is not linear, different for each image."""
    return ((maps * (1 + rows.view(-1, 1, 1, 1))).sin()).flatten(1).sum(1)


def task(model, steered=goal):
    def steer(maps, rows):
        with torch.enable_grad():
            moved = maps.clone().requires_grad_()
            return torch.autograd.grad(steered(moved, rows).sum(), moved)[0]

    return Step(model, Softened(model, 10.0), pixels(), TARGETS, INDEX, SEED, steer, lambda logits, _: logits.square().sum(1))


def gradient_map(model, x):
    score = model.forward(x).gather(1, TARGETS[:, None]).sum()
    return torch.autograd.grad(score, x, create_graph=True)[0]


def whole(model, make, held=False):
    x = pixels().requires_grad_()
    total = goal(make(model, x), torch.arange(COUNT)).sum()
    if held:
        total = total - model.forward(x).square().sum()
    return torch.autograd.grad(total, x)[0]


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()))


def path_map(model, x):
    parts = [weight * gradient_map(model, point * x) for point, weight in zip(*quadrature("midpoint", 4), strict=True)]
    return sum(parts) * x


def smoothed_map(model, x, inner=gradient_map):
    parts = []
    for sample in range(6):
        number = torch.full((COUNT,), sample)
        noise = draw(assay.Gaussian(0.1), derive(SEED, "Smoothed.attacked"), "Smoothed", INDEX, number, (3, SIZE, SIZE), False)
        parts.append(inner(model, x + noise))
    return sum(parts) / 6


def expected_map(model, x):
    total = 0
    for sample in range(4):
        base, share = assay.ExpectedGradients(assay.Constant(0.2), samples=4).points(x.detach(), INDEX, torch.full((COUNT,), sample), SEED)
        total = total + gradient_map(model, base + share * (x - base)) * (x - base) / 4
    return total


@pytest.mark.parametrize("chunk", [1, 2, 5, 64])
@pytest.mark.parametrize(
    ("explainer", "make", "held"),
    [
        (assay.Gradient(), gradient_map, True),
        (assay.GradientXInput(), lambda model, x: gradient_map(model, x) * x, True),
        (assay.IntegratedGradients(4), path_map, False),
        (assay.SmoothGrad(0.1, samples=6, antithetic=False), smoothed_map, False),
        (assay.ExpectedGradients(assay.Constant(0.2), samples=4), expected_map, False),
    ],
    ids=lambda part: getattr(part, "__name__", repr(part)),
)
def test_the_slope_is_that_of_the_whole_explanation_at_any_chunk_size(explainer, make, held, chunk):
    made = form(explainer)
    assert made.holds == held
    model = smooth_model(chunk)
    close(made.pull(task(model)), whole(smooth_model(), make, held))


def test_memory_does_not_grow_with_samples():
    """With chunks of 4 no more than 4 inputs go through the network at once, whatever the samples."""
    model, sizes = smooth_model(4), []
    model.module.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    form(assay.SmoothGrad(0.1, samples=30)).pull(task(model))
    assert max(sizes) <= 4


def test_samples_replace_an_explainers_own_only_where_it_averages_over_noise():
    assert form(with_copies(assay.SmoothGrad(0.1, samples=30), 8)).each == 8
    assert form(with_copies(assay.Smoothed(assay.IntegratedGradients(3), samples=30), 8)).each == 24
    assert form(with_copies(assay.IntegratedGradients(30), 8)).each == 30
    assert form(with_copies(assay.SmoothGrad(0.1, samples=30), None)).each == 30
    nested = assay.Smoothed(assay.SmoothGrad(0.1, samples=30), samples=20)
    assert form(with_copies(nested, 3)).each == 9


@pytest.mark.parametrize(
    "explainer",
    [
        assay.Lime(12, assay.Grid(2, 2)),
        assay.KernelShap(12, assay.Grid(2, 2)),
        assay.Occlusion(assay.Grid(2, 3)),
        assay.KernelShap(12, assay.Grid(3, 2), sampling="independent"),
        assay.KernelShap(10, assay.Grid(3, 2)),
        assay.GradCAM("0"),
        assay.ShapleySampling(3, assay.Grid(2, 2)),
        assay.GradCAMpp("1"),
        assay.LayerCAM("1"),
    ],
    ids=repr,
)
def test_other_slopes_are_those_of_finite_differences(explainer):
    """The explainer itself is differentiated, along a random direction; LIME's kernel, which the attack holds, is made flat."""
    if isinstance(explainer, assay.Lime):
        explainer = dataclasses.replace(explainer, kernel_width=1e6)
    model = smooth_model()
    slope = form(explainer).pull(task(model))
    if form(explainer).holds:
        x = pixels().requires_grad_()
        slope = slope + torch.autograd.grad(model.forward(x).square().sum(), x)[0]
    way = torch.randn(pixels().shape, generator=torch.Generator().manual_seed(1))
    # Positive parts have kinks, which a long step leaps over.
    rows, step = torch.arange(COUNT), 1e-4 if isinstance(explainer, assay.GradCAMpp | assay.LayerCAM) else 1e-3

    def value(sign):
        return goal(explainer.attribute(model, pixels() + sign * step * way, TARGETS, INDEX, SEED).double(), rows)

    expected = (value(1) - value(-1)) / (2 * step)
    torch.testing.assert_close((slope * way).flatten(1).sum(1).double(), expected, rtol=0.02, atol=2e-3)


def test_what_has_no_derivative_is_refused_by_name():
    for explainer in (assay.RandomMap(), assay.Smoothed(assay.Lime(samples=4)), gradient_map):
        with pytest.raises(SpecError, match="BlackBoxMapAttack"):
            form(explainer)
    with pytest.raises(SpecError, match="RandomMap"):
        assay.MapAttack()(smooth_model(), assay.RandomMap(), pixels())


def test_an_explainer_of_ones_own_can_be_added():
    class Twice(type(form(assay.Gradient()))):
        def part(self, task, pixels, rows, sample):
            logits, slopes = super().part(task, pixels, rows, sample)
            return logits, 2 * slopes

    class Own:
        pass

    form.register(Own, lambda _: Twice())
    close(form(Own()).pull(task(smooth_model())), whole(smooth_model(), lambda model, x: 2 * gradient_map(model, x), True))
