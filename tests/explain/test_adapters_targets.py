"""Explainers of other libraries explain what `targets=` says: contrasts, regions, findings, values and functions of one's own."""

import pytest
import torch
from torch import nn

import assay
from reference.nets import plain, seeded

MASK = torch.zeros(8, 8, dtype=torch.bool)
MASK[2:6, 1:4] = True


class Places(nn.Module):
    """Logits (N, 4, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.first, self.last = seeded(lambda: nn.Conv2d(3, 6, 3, padding=1)), seeded(lambda: nn.Conv2d(6, 4, 3, padding=1), 1)

    def forward(self, x):
        return self.last(torch.relu(4 * self.first(x)))


CASES = {
    "contrast": (lambda: assay.Classifier(plain()), assay.Contrast(2, 0), lambda z: z[:, 2] - z[:, 0]),
    "probability": (lambda: assay.Classifier(plain()), assay.Probability(1), lambda z: z.softmax(1)[:, 1]),
    "one's own": (lambda: assay.Classifier(plain()), lambda z: z.square().sum(1), lambda z: z.square().sum(1)),
    "finding": (lambda: assay.Classifier(plain(), head="sigmoid", output="probability"), 3, lambda z: z[:, 3].sigmoid()),
    "value": (lambda: assay.Classifier(plain(), head="scalar"), 1, lambda z: z[:, 1]),
    "one logit": (lambda: assay.Classifier(plain(classes=1)), 1, lambda z: z[:, 0]),
    "region": (lambda: assay.Classifier(Places()), assay.Mean(MASK, 2), lambda z: z[:, 2][:, MASK].mean(1)),
    "own of places": (lambda: assay.Classifier(Places()), lambda z: z[:, 0, 3, 3], lambda z: z[:, 0, 3, 3]),
}


def pixels():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def truth(model, value):
    """Autograd's gradient of what is explained."""
    x = pixels().requires_grad_()
    return torch.autograd.grad(value(model.module(x)).sum(), x)[0]


@pytest.mark.parametrize("case", CASES)
def test_captums_maps_are_of_the_target(case):
    make, target, value = CASES[case]
    model = make()
    slope = truth(model, value)
    torch.testing.assert_close(assay.build("captum:Saliency(abs=False)")(model, pixels(), target), slope, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(assay.build("captum:InputXGradient()")(model, pixels(), target), slope * pixels(), rtol=1e-4, atol=1e-6)
    found = assay.build("captum:Occlusion(sliding_window_shapes=(3, 8, 8))")(model, pixels(), target)
    with torch.no_grad():
        whole = value(model.module(pixels())) - value(model.module(torch.zeros(3, 3, 8, 8)))
    torch.testing.assert_close(found, whole.view(3, 1, 1, 1).expand(3, 3, 8, 8), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_zennits_maps_are_of_the_target(case):
    """The plain gradient where no rule is mapped: relevances of the guided rule are 0 where no ReLU lets any through."""
    make, target, value = CASES[case]
    model = make()
    zennit = assay.wrap(__import__("zennit.core", fromlist=["Composite"]).Composite(), name="plain")
    torch.testing.assert_close(zennit(model, pixels(), target), truth(model, value), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_gradcams_maps_are_of_the_target(case):
    make, target, _ = CASES[case]
    layer = "first" if "region" in case or "places" in case else "0"
    peers = assay.build(f"gradcam:GradCAM(layer='{layer}')")(make(), pixels(), target)
    own = assay.GradCAM(layer)(make(), pixels(), target)
    assert own.flatten(1).amax(1).max() > 0
    low, high = own.amin((2, 3), keepdim=True), own.amax((2, 3), keepdim=True)
    torch.testing.assert_close(peers, (own - low) / (high - low).clamp_min(1e-12), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_shapley_values_of_the_target_add_up_with_and_without_a_call(case):
    make, target, value = CASES[case]
    model, shap = make(), assay.KernelShap(30, assay.Grid(2, 2))
    with torch.no_grad():
        whole = value(model.module(pixels())) - value(model.module(torch.zeros(3, 3, 8, 8)))
    torch.testing.assert_close(shap.posterior(model, pixels(), target).mean.sum(1), whole, rtol=1e-3, atol=1e-3)


def test_the_posterior_of_a_value_needs_no_targets():
    model = assay.Classifier(plain(classes=1), head="scalar")
    shap = assay.KernelShap(12, assay.Grid(2, 2))
    torch.testing.assert_close(shap.posterior(model, pixels()).maps, shap(model, pixels()))


@pytest.mark.parametrize("case", CASES)
def test_maps_made_elsewhere_are_judged_for_the_target(case):
    make, target, _ = CASES[case]
    model = make()
    maps = assay.Gradient()(model, pixels(), target)
    given = assay.Given(maps, name="mine")
    torch.testing.assert_close(given(model, pixels(), target), maps)
    one, other = (assay.Infidelity(samples=6)(model, pixels(), each, target) for each in (maps, given(model, pixels(), target)))
    torch.testing.assert_close(one, other)
