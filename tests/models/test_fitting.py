import dataclasses

import pytest
import torch
from torch.nn.functional import cross_entropy

from assay.core.ranks import Ranks
from assay.errors import SpecError
from assay.models.nets.architectures import SmallResNet, Swin, ViT
from assay.models.training.draws import Draws
from assay.models.training.fitting import Examples, Fitting, memory_format, optimiser
from assay.models.training.recipe import Flip, Recipe, Shift

DROPPING = ViT(classes=2, size=8, width=8, depth=1, heads=2, dropout=0.3)
RECIPE = Recipe(epochs=3, batch_size=8, lr=0.05, augment=(Shift(1), Flip(), Shift(1)))


def examples(count=24):
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Examples(images, torch.arange(count) % 2, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def fitting(recipe=RECIPE, seed=0, count=24):
    net = DROPPING.make(1).to(memory_format=torch.channels_last)
    return Fitting(net, examples(count), recipe, seed)


def same(one, other):
    left, right = one.net.state_dict(), other.net.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("reached", [0, 1, 2, 3])
@pytest.mark.parametrize("chosen", [("sgd", "bfloat16"), ("sgd", "float32"), ("adamw", "float32"), ("muon", "float32")])
def test_a_state_goes_on_to_the_same_bits(reached, chosen):
    recipe = dataclasses.replace(RECIPE, optimiser=chosen[0], precision=chosen[1])
    undisturbed, first, second = fitting(recipe), fitting(recipe), fitting(recipe)
    for _ in range(3):
        undisturbed.epoch()
    for _ in range(reached):
        first.epoch()
    second.restore(first.state())
    for _ in range(3 - reached):
        second.epoch()
    assert same(undisturbed, second)
    assert undisturbed.history == second.history


def test_a_state_is_a_copy_that_later_epochs_do_not_change():
    one = fitting()
    one.epoch()
    held = {name: tensor.clone() for name, tensor in one.state()[0].items()}
    state = one.state()[0]
    one.epoch()
    assert all(torch.equal(state[name], held[name]) for name in held)


def test_one_step_is_the_gradient_of_the_mean_loss():
    recipe = Recipe(epochs=1, batch_size=24, lr=0.1, warmup=0.0, momentum=0.0, weight_decay=0.0, label_smoothing=0.1, precision="float32")
    plain = dataclasses.replace(DROPPING, dropout=0.0)
    net, data = plain.make(1), examples()
    twin = plain.make(1)
    mean, std = (torch.tensor(each)[:, None, None] for each in (data.mean, data.std))
    loss = cross_entropy(twin((data.images / 255 - mean) / std), data.labels, label_smoothing=0.1)
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    done = Fitting(net, data, recipe, 0).epoch()
    assert done.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    for moved, parameter, gradient in zip(net.parameters(), twin.parameters(), gradients, strict=True):
        assert torch.allclose(moved, parameter - recipe.rate(0, 1) * gradient, atol=1e-6)


def test_epochs_differ_in_order_and_augmentation():
    orders = []

    class Noting(Flip):
        def __call__(self, images, draws):
            orders.extend(draws.index.tolist())
            return images

    one = fitting(dataclasses.replace(RECIPE, augment=(Noting(),)))
    one.epoch()
    one.epoch()
    first, second = orders[:24], orders[24:]
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second


def test_an_images_draws_do_not_depend_on_the_batch_around_it():
    whole, part = Draws(1, "a", torch.arange(9), 2), Draws(1, "a", torch.tensor([7, 3]), 2)
    assert torch.equal(whole.uniform(4)[[7, 3]], part.uniform(4))
    assert torch.equal(whole.normal(2, 3)[[7, 3]], part.normal(2, 3))
    for other in (Draws(2, "a", torch.arange(9), 2), Draws(1, "b", torch.arange(9), 2), Draws(1, "a", torch.arange(9), 3)):
        assert not torch.equal(whole.uniform(4), other.uniform(4))


def test_a_batch_that_cannot_be_split_evenly_is_refused():
    with pytest.raises(SpecError, match="batches of 8 images cannot be split evenly over 3 processes"):
        Fitting(DROPPING.make(), examples(), RECIPE, 0, Ranks(0, 3))


def test_what_timm_spares_of_decay_is_spared():
    net = Swin(classes=2, size=16, width=8, depths=(1,), heads=(2,), window=2).make()
    decayed, spared = optimiser(net, Recipe()).param_groups
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (Recipe().weight_decay, 0.0)
    assert any("relative_position_bias_table" in names[id(one)] for one in spared["params"])
    assert not any("bias" in names[id(one)] for one in decayed["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


@pytest.mark.parametrize(("stem", "device", "last"), [(4, "cpu", False), (4, "cuda", True), (8, "cpu", True)])
def test_networks_whose_gradient_onednn_would_write_past_its_memory_are_not_channels_last(stem, device, last):
    net = SmallResNet(classes=2, widths=(8,), blocks=(1,), strides=(2,), stem=stem).make()
    assert (memory_format(net, torch.device(device)) == torch.channels_last) == last


def test_a_narrow_network_trains_without_writing_past_its_memory():
    net = SmallResNet(classes=2, widths=(4,), blocks=(1,), strides=(2,), stem=4).make()
    usual = []
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(lambda _, given: usual.append(given[0].is_contiguous()))
    one = Fitting(net, examples(80), dataclasses.replace(RECIPE, epochs=3, precision="float32"), 0)
    for _ in range(3):
        one.epoch()
    assert all(torch.isfinite(parameter).all() for parameter in net.parameters())
    assert usual
    assert all(usual)
