from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import assay
from assay.errors import NotFiniteError
from reference.guards import snapshot
from reference.nets import normed, plain, tokens
from reference.specs import cheap, own

COUNT, SIZE = 5, 9
TARGETS = torch.tensor([1, 0, 3, 2, 2])
INDEX = torch.tensor([10, 0, 77, 3, 12345678])
EVERY = pytest.mark.parametrize("explainer", [cheap(cls) for cls in own(assay.Explainer)], ids=repr)


@pytest.fixture(scope="module")
def batch():
    return torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def usual(batch):
    """`usual(explainer)`: its maps of the usual call, made once."""
    return cache(lambda explainer: explainer(classifier(explainer), batch, TARGETS))


@pytest.fixture(scope="module")
def placed(batch):
    """`placed(explainer)`: its maps of the images under the numbers `INDEX`, made once."""
    return cache(lambda explainer: explainer(classifier(explainer), batch, TARGETS, index=INDEX, seed=1))


def suited(explainer, net, size=(SIZE, SIZE), patch=3, channels=3):
    """The network, or a transformer for what looks at attention."""
    return tokens(size, patch, channels) if "attention" in explainer.needs else net


def classifier(explainer, chunk=None):
    return assay.Classifier(suited(explainer, normed()), mean=0.5, std=0.25, chunk=chunk)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * other.abs().max().item())


@EVERY
def test_it_declares_its_facts(explainer):
    cls = type(explainer)
    assert cls.category in {"gradient", "path", "smoothing", "surrogate", "layer", "mask", "control"}
    assert explainer.needs <= {"gradient", "layer", "attention", "segments"}
    assert isinstance(explainer.needs, frozenset)
    assert cls.reference
    assert cls.pitfalls.endswith(".")
    assert isinstance(cls.finds_targets, bool)


@EVERY
def test_it_takes_the_passes_that_it_declares(explainer, batch):
    model = classifier(explainer, 4)
    explainer(model, batch, TARGETS)  # What is looked up once per network is no part of a map's cost.
    model.passes.forward = model.passes.backward = 0
    explainer(model, batch, TARGETS)
    cost = explainer.cost
    assert cost is not None
    forward = COUNT * cost.forward + cost.shared
    assert model.passes.forward == forward or (cost.most and 0 < model.passes.forward < forward)
    assert model.passes.backward == COUNT * cost.backward


@EVERY
def test_maps_are_signed_float32_of_the_images_shape_without_a_graph(explainer, batch, usual):
    maps = usual(explainer)
    assert maps.shape in {(COUNT, 3, SIZE, SIZE), (COUNT, 1, SIZE, SIZE)}
    assert maps.dtype == torch.float32
    assert maps.device == batch.device
    assert not maps.requires_grad
    assert bool((maps < 0).any()) == explainer.signed
    assert (maps > 0).any()
    assert maps.isfinite().all()


@EVERY
def test_a_seed_gives_the_same_bits_again(explainer, batch, placed):
    assert torch.equal(explainer(classifier(explainer), batch, TARGETS, index=INDEX, seed=1), placed(explainer))


@EVERY
def test_a_seed_matters_exactly_where_there_is_randomness(explainer, batch, usual):
    random = any(word in repr(explainer) for word in ("Random", "Smooth", "Lime", "Shap", "Expected", "VarGrad", "Rise"))
    assert torch.equal(explainer(classifier(explainer), batch, TARGETS, seed=1), usual(explainer)) != random


@EVERY
def test_maps_do_not_depend_on_the_chunk_size(explainer, batch):
    whole = explainer(classifier(explainer, 64), batch, TARGETS)
    for chunk in (1, 2, 3, 7):
        close(explainer(classifier(explainer, chunk), batch, TARGETS), whole)


@EVERY
@pytest.mark.parametrize("chosen", [[4, 2, 0, 3, 1], [3], [1, 1, 4]], ids=["reversed", "alone", "repeated"])
def test_maps_do_not_depend_on_order_subset_or_company(explainer, batch, placed, chosen):
    some = explainer(classifier(explainer), batch[chosen], TARGETS[chosen], index=INDEX[chosen], seed=1)
    close(some, placed(explainer)[chosen])


@EVERY
def test_the_index_counts_from_zero(explainer, batch, usual):
    close(usual(explainer), explainer(classifier(explainer), batch, TARGETS, index=torch.arange(COUNT)))


@EVERY
def test_no_targets_mean_the_predicted_classes(explainer, batch):
    model = assay.Classifier(suited(explainer, plain(size=SIZE + 1)), mean=0.5, std=0.1)
    predicted = model.predict(batch)
    assert predicted.unique().numel() > 1
    close(explainer(model, batch), explainer(model, batch, predicted))


@EVERY
def test_the_global_generators_are_untouched_and_not_used(explainer, batch, usual, untouched):
    model, first = classifier(explainer), usual(explainer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        np_state = np.random.get_state()
        np.random.seed(99)
        with untouched():
            assert torch.equal(explainer(model, batch, TARGETS), first)
        np.random.set_state(np_state)


@EVERY
def test_the_callers_network_images_and_targets_are_untouched(explainer, batch):
    net, pixels, targets = suited(explainer, normed()), batch.clone(), TARGETS.clone()
    first = next(net.parameters())
    first.grad = torch.ones_like(first)
    before = snapshot(net)
    explainer(assay.Classifier(net), pixels, targets)
    assert snapshot(net) == before
    assert torch.equal(pixels, batch)
    assert torch.equal(targets, TARGETS)
    assert not pixels.requires_grad


@EVERY
@pytest.mark.parametrize("given", [True, False], ids=["targets given", "targets found"])
def test_a_network_that_gives_nan_is_reported_with_the_image(explainer, batch, given):
    class Poisoned(nn.Module):
        """NaN for every image with a first pixel that is nearly white, noisy copies included."""

        def __init__(self):
            super().__init__()
            self.net = suited(explainer, plain(size=SIZE + 1))

        def forward(self, x):
            spoilt = x[:, :, 0, 0].sum(1, keepdim=True) > 1.5
            return self.net(x) * torch.where(spoilt, torch.nan, 1.0)

    if type(explainer).category == "control":
        assert explainer(classifier(explainer), batch).isfinite().all()
        return
    model = assay.Classifier(Poisoned())
    spoilt = batch.clone()
    spoilt[:, :, 0, 0] = 0.1
    spoilt[2, :, 0, 0] = 1.0
    with pytest.raises(NotFiniteError, match=r"image 2 \(1 of 5\) is NaN or infinite"):
        explainer(model, spoilt, TARGETS if given else None)


@EVERY
@pytest.mark.parametrize("channels", [1, 4])
def test_other_numbers_of_channels_work(explainer, channels):
    pixels = torch.rand(2, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    net = suited(explainer, plain(channels=channels), (8, 8), 4, channels)
    maps = explainer(assay.Classifier(net), pixels)
    assert maps.shape in {(2, channels, 8, 8), (2, 1, 8, 8)}


@EVERY
def test_images_of_one_colour_give_finite_maps(explainer):
    pixels = torch.stack([torch.full((3, 8, 8), grey) for grey in (0.0, 0.5, 1.0)])
    assert explainer(assay.Classifier(suited(explainer, plain(), (8, 8), 4)), pixels).isfinite().all()


@EVERY
def test_oblong_images_work(explainer):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    pixels = torch.rand(2, 3, 6, 13, generator=torch.Generator().manual_seed(0))
    assert explainer(assay.Classifier(suited(explainer, net, (6, 13), 1)), pixels).shape[2:] == (6, 13)
