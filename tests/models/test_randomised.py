import pytest
import torch
from torch import nn

import assay
from assay.errors import ModelError
from assay.models.randomised import layers, permuted, randomised
from reference.guards import snapshot
from reference.nets import linear, normed, plain, seeded


class Backwards(nn.Module):
    """Defines its head first, a layer that it never uses last, and uses a weight as a function does."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 4)
        self.scale = nn.Parameter(torch.rand(6))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.body = nn.Conv2d(3, 6, 3)
        self.unused = nn.Linear(6, 4)

    def forward(self, x):
        tokens = self.body(x).flatten(2).transpose(1, 2)
        return self.head((self.attention(tokens, tokens, tokens)[0] * self.scale).mean(1))


def parameters(model):
    return dict(model.module.named_parameters())


@pytest.mark.parametrize("which", ["last", "all"])
def test_values_stay_and_their_order_does_not(which):
    model = assay.Classifier(plain())
    before, after = parameters(model), parameters(randomised(model, which, 0))
    for name, old in before.items():
        assert torch.equal(after[name].flatten().sort().values, old.flatten().sort().values)
        assert torch.equal(after[name], old) == (which == "last" and not name.startswith("5."))


def test_every_order_of_a_small_tensor_is_about_as_frequent():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    net[1].weight.data = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    model = assay.Classifier(net)
    first = torch.stack([parameters(randomised(model, "all", seed))["1.weight"].flatten() for seed in range(600)])
    for place in range(6):
        counts = torch.stack([(first[:, place] == value).sum() for value in range(1, 7)])
        assert ((counts - 100).abs() < 45).all()


def test_it_depends_on_the_seed_alone():
    model = assay.Classifier(plain())
    one, same, other = (parameters(randomised(model, "all", seed))["0.weight"] for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_models_own_weights_and_the_callers_are_only_read(images):
    net = normed()
    before = snapshot(net)
    model = assay.Classifier(net, mean=0.5, std=0.25)
    logits = model.logits(images())
    inside = snapshot(model.module)
    moved = randomised(model, "all", 0).logits(images())
    assert not torch.allclose(moved, logits)
    assert snapshot(net) == before
    assert snapshot(model.module) == inside
    assert torch.equal(model.logits(images()), logits)


def test_buffers_of_batch_norms_stay():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net[0].running_mean += torch.arange(3)
    model = assay.Classifier(net)
    twin = randomised(model, "all", 0)
    for (_, old), (name, new) in zip(model.module.named_buffers(), twin.module.named_buffers(), strict=True):
        assert torch.equal(old, new), name


def test_passes_are_counted_on_the_model_and_looking_for_layers_is_not(images):
    model = assay.Classifier(plain())
    twin = randomised(model, "last", 0, (3, 8, 8))
    assert model.passes.forward == 0
    twin.logits(images())
    assert model.passes.forward == 3


def test_layers_stand_in_the_order_in_which_they_run_and_unused_ones_are_left_out():
    model = assay.Classifier(seeded(Backwards))
    found = [{name.rpartition(".")[0] for name in layer} for layer in layers(model, (3, 6, 6))]
    assert found == [{"head"}, {""}, {"attention.out_proj"}, {"attention"}, {"body"}]
    assert {name for layer in layers(model) for name in layer} == set(parameters(model))
    moved = parameters(randomised(model, "last", 1, (3, 6, 6)))
    changed = {name for name, old in parameters(model).items() if not torch.equal(moved[name], old)}
    assert changed == {"head.weight", "head.bias"}


def test_named_parameters_alone_are_permuted():
    model = assay.Classifier(plain())
    after = parameters(permuted(model, ["2.weight"], 0))
    assert [name for name, old in parameters(model).items() if not torch.equal(after[name], old)] == ["2.weight"]


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ModelError, match="no parameters"):
        randomised(assay.Classifier(linear(torch.ones(3))), "all", 0)
