from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from assay.models.nets.architectures import SmallResNet
from assay.models.training.fitting import optimiser
from assay.models.training.muon import Muon, orthogonalised
from assay.models.training.recipe import Recipe

RECIPE = Recipe(optimiser="muon", lr=0.1, weight_decay=0.5, momentum=0.9)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(rows=st.integers(1, 24), columns=st.integers(1, 24), seed=st.integers(0, 99), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_singular_vectors_stay_and_singular_values_come_near_one(rows, columns, seed, scale):
    left, _, right = torch.linalg.svd(drawn(rows, columns, seed=seed), full_matrices=False)
    spread = torch.linspace(1.0, 0.05, min(rows, columns))
    inside = left.T @ orthogonalised(scale * (left * spread) @ right) @ right.T
    assert torch.allclose(inside, inside.diag().diag(), atol=1e-3)
    assert 0.6 < inside.diag().min() <= inside.diag().max() < 1.3


def test_no_gradient_direction_gives_no_step():
    assert not orthogonalised(torch.zeros(3, 5)).any()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 3, 2, 2)])
def test_the_first_step_is_the_orthogonal_one_of_its_length_after_decay(shape):
    weight = nn.Parameter(drawn(*shape))
    before, gradient = weight.detach().clone(), drawn(*shape, seed=1)
    weight.grad = gradient.clone()
    Muon([{"params": [weight], "weight_decay": 0.5, "orthogonal": True}], lr=0.1, momentum=0.0).step()
    flat = gradient.flatten(1)
    change = 0.1 * 0.2 * max(flat.shape) ** 0.5 * orthogonalised(flat).view(shape)
    assert torch.allclose(weight, 0.95 * before - change, atol=1e-6)


def test_several_steps_are_those_of_timm(monkeypatch):
    peer = pytest.importorskip("timm.optim.muon")
    # timm takes the products in bfloat16, whose rounding would hide a wrong formula.
    exact = partial(peer.zeropower_via_newtonschulz, dtype=torch.float32)
    monkeypatch.setattr(peer, "zeropower_via_newtonschulz", exact)
    ours, theirs = nn.Parameter(drawn(8, 3, 3, 3)), nn.Parameter(drawn(8, 3, 3, 3))
    one = Muon([{"params": [ours], "weight_decay": 0.1, "orthogonal": True}], lr=0.05, momentum=0.9)
    other = peer.Muon([theirs], lr=0.05, weight_decay=0.1, momentum=0.9, nesterov=True, ns_coefficients="original")
    for step in range(5):
        ours.grad, theirs.grad = drawn(8, 3, 3, 3, seed=step + 1), drawn(8, 3, 3, 3, seed=step + 1)
        one.step()
        other.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_other_parameters_take_the_steps_of_adamw():
    ours, theirs = nn.Parameter(drawn(7)), nn.Parameter(drawn(7))
    one = Muon([{"params": [ours], "weight_decay": 0.1, "orthogonal": False}], lr=0.05, momentum=0.9)
    other = torch.optim.AdamW([theirs], lr=0.05, weight_decay=0.1, betas=(0.9, 0.95))
    for step in range(3):
        ours.grad, theirs.grad = drawn(7, seed=step + 1), drawn(7, seed=step + 1)
        one.step()
        other.step()
    assert torch.equal(ours, theirs)


def test_all_matrices_but_the_one_that_gives_logits_are_orthogonal():
    net = SmallResNet(classes=2, widths=(4, 4), blocks=(1, 1), strides=(1, 2), stem=4).make()
    inner, last, spared = optimiser(net, RECIPE).param_groups
    assert (inner["orthogonal"], last["orthogonal"], spared["orthogonal"]) == (True, False, False)
    assert [id(one) for one in last["params"]] == [id(net.fc.weight)]
    assert {one.ndim for one in inner["params"]} == {4}
    assert (inner["weight_decay"], last["weight_decay"], spared["weight_decay"]) == (0.5, 0.5, 0.0)
    assert sum(len(group["params"]) for group in (inner, last, spared)) == len(list(net.parameters()))
