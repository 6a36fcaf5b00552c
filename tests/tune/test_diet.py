import dataclasses

import pytest
import torch
from torch import nn

import assay
from assay.errors import DataError, EmptyBatchError, ImageTypeError, ModelError, NotFiniteError, ShapeError, SpecError
from assay.tune.choice import RoundK
from assay.tune.diet import PAPER, DiET, Tuned
from assay.tune.drawn_backgrounds import RandomColour
from assay.tune.network import PixelNet
from assay.tune.schedules import Epochs, Falling
from assay.tune.tuning import Round
from reference.guards import snapshot
from reference.nets import normed, plain

QUICK = DiET(rounds=2, mask_lr=0.25, mask_stop=Epochs(3), model_stop=Epochs(2), batch_size=5, sparsity=Falling(), precision="float32")


def pictures():
    """Images of different colours, which the networks below put into several classes."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(12, 3, 8, 8, generator=generator) * torch.rand(12, 3, 1, 1, generator=generator)


@pytest.fixture(scope="module")
def batch():
    return pictures()


def varied():
    """A network with batch norm that puts the images into several classes."""
    net = normed()
    with torch.no_grad():
        net[-1].weight.mul_(30)
        net[-1].bias.zero_()
        net[-1].bias.copy_(-net.eval()(pictures()).mean(0))
    return net.train()


def same(one, other):
    weights = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return torch.equal(one.masks, other.masks) and all(torch.equal(*pair) for pair in weights)


def test_the_loss_runs_as_it_did(batch):
    # Means over all images, from this code; the formulae themselves are held by the twin above.
    golden = [1.0, 0.9341, 0.8823, 0.8342, 0.7854, 0.7192, 0.1550, 0.1307, 0.4351, 0.4206, 0.4034, 0.4145, 0.3831, 0.3439, 0.1436, 0.1340]
    found = dataclasses.replace(QUICK, mask_lr=0.1, mask_stop=Epochs(6), model_lr=3e-3)(plain(), batch, seed=2)
    assert [row["loss"] for row in found.epochs] == pytest.approx(golden, rel=0.01)


@pytest.mark.parametrize(("lambda_model", "lambda_data"), [(3.0, 0.5), (0.5, 3.0)])
def test_both_losses_have_their_own_weights(batch, lambda_model, lambda_data):
    found = dataclasses.replace(QUICK, lambda_model=lambda_model, lambda_data=lambda_data)(varied(), batch, seed=2)
    first, model = rows(found, "masks")[:3], rows(found, "model")  # Before the first round's model is tuned it is the baseline.
    for row in model:
        assert row["loss"] == pytest.approx(lambda_model * row["model"] + lambda_data * row["distance"], rel=1e-5)
    for row in first:
        assert row["loss"] == pytest.approx(row["kept"] + lambda_data * row["distance"], rel=1e-5)
    assert min(abs(row["model"] - row["distance"]) for row in model) > 0.01
    assert first[-1]["distance"] > 0.01


def rows(tuned, phase):
    return [row for row in tuned.epochs if row["phase"] == phase]


@pytest.mark.parametrize("settings", [QUICK, dataclasses.replace(PAPER, upsample=2, rounds=2, mask_stop=Epochs(2), model_stop=Epochs(2))])
def test_an_interrupted_tuning_ends_with_the_same_bits_from_every_state(batch, settings):
    net = varied()
    tuning = settings.begin(net, batch, seed=5)
    states = [tuning.state() for _ in tuning.epochs()]
    whole = settings.finish(tuning)
    for state in states:
        other = settings.begin(net, batch, seed=5)
        other.go_on(state)
        for _ in other.epochs():
            pass
        again = settings.finish(other)
        assert same(again, whole)
        assert (again.history, again.epochs) == (whole.history, whole.epochs)


def test_a_state_does_not_change_with_what_comes_after_it(batch):
    tuning = QUICK.begin(plain(), batch)
    steps = tuning.epochs()
    next(steps)
    state = tuning.state()
    before = {name: value.clone() if isinstance(value, torch.Tensor) else repr(value) for name, value in state.items()}
    list(steps)
    assert all(
        torch.equal(value, before[name]) if isinstance(value, torch.Tensor) else repr(value) == before[name]
        for name, value in state.items()
    )


def test_the_state_of_another_tuning_is_refused(batch):
    state = QUICK.begin(plain(), batch).state()
    with pytest.raises(DataError, match="another tuning"):
        QUICK.begin(plain(), batch[:7]).go_on(state)


def test_a_seed_gives_the_same_bits_and_another_seed_others(batch, untouched):
    with untouched():
        first, second, other = (QUICK(plain(), batch, seed=seed) for seed in (0, 0, 1))
    assert same(first, second)
    assert not same(first, other)


def test_bytes_are_taken_as_pixels(batch):
    levels = (batch * 255).round().to(torch.uint8)
    assert same(QUICK(plain(), levels), QUICK(plain(), levels.float() / 255))


@pytest.mark.parametrize("train_mode", [False, True])
def test_the_callers_network_and_images_are_untouched(batch, train_mode):
    net, pixels = varied(), batch.clone()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = snapshot(net)
    found = dataclasses.replace(QUICK, train_mode=train_mode)(net, pixels)
    assert snapshot(net) == before
    assert torch.equal(pixels, batch)
    assert not found.model.training
    assert not torch.equal(found.model[0].weight, net[0].weight)
    assert torch.equal(found.model[1].running_mean, net[1].running_mean) != train_mode


def test_frozen_parameters_stay_and_where_all_are_frozen_all_are_tuned(batch):
    net = plain()
    net[0].requires_grad_(False)
    found = QUICK(net, batch).model
    assert torch.equal(found[0].weight, net[0].weight)
    assert not torch.equal(found[2].weight, net[2].weight)
    assert not torch.equal(QUICK(net.requires_grad_(False), batch).model[0].weight, net[0].weight)


def test_a_classifier_brings_its_normalisation(batch):
    net, mean, std = plain(), (0.3, 0.4, 0.5), (0.2, 0.3, 0.4)
    own = QUICK(assay.Classifier(net, mean, std), batch)
    given = QUICK(PixelNet(net, mean, std), batch)
    torch.testing.assert_close(own.masks, given.masks)
    torch.testing.assert_close(own.model(batch), given.model(batch))
    torch.testing.assert_close(own.classifier().logits(batch), own.model(batch), rtol=1e-4, atol=1e-4)


def test_networks_that_return_logits_within_an_object_are_tuned(batch):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain()

        def forward(self, x):
            return {"logits": self.net(x)}

    assert torch.equal(QUICK(Wrapped(), batch).masks, QUICK(plain(), batch).masks)


def test_the_outcome_holds_together(batch):
    found = QUICK(plain(), batch, validation=batch[:4])
    assert found.masks.shape == found.rounded.shape == (12, 1, 8, 8)
    assert found.masks.min() >= 0
    assert found.masks.max() <= 1
    assert [row["round"] for row in found.history] == [1, 2]
    assert [row["chosen"] for row in found.history].count(True) == 1
    assert [(row["round"], row["phase"], row["epoch"]) for row in found.epochs] == [
        (number, phase, epoch) for number in (1, 2) for phase, many in (("masks", 3), ("model", 2)) for epoch in range(1, many + 1)
    ]
    assert all(0 <= row["validation"] <= 1 for row in found.history)


def test_the_masks_cost_one_pass_forward_and_one_backward_for_each_image_and_epoch(batch, monkeypatch):
    from assay.tune import tuning as module

    made = []
    monkeypatch.setattr(module, "wrapped", lambda *given: made.append(assay.Classifier(given[0])) or made[-1])
    steps = dataclasses.replace(QUICK, judges=(RandomColour(),)).begin(plain(), batch).epochs()
    for _ in range(3):
        next(steps)
    assert made[0].passes == assay.models.classifier.Passes(forward=(1 + 3) * 12, backward=3 * 12)


def test_progress_counts_every_image(batch):
    told = []
    dataclasses.replace(QUICK, rounds=1)(plain(), batch, progress=lambda *report: told.append(report))
    assert told[-1] == ("round 1 of 1, model", 24, 24)
    assert ("round 1 of 1, masks", 36, 36) in told


def test_a_spec_of_it_and_the_paper_can_be_written_and_read():
    assert assay.build(repr(PAPER)) == PAPER
    assert assay.build("DiET(rounds=3, background=Blur(sigma=4))").background == assay.Blur(4)


def test_any_callable_is_a_background(batch):
    def grey(images, index, seed):
        return torch.full_like(images, 0.5)

    def shorter(images, index, seed):
        return images[:1]

    constant = dataclasses.replace(QUICK, background=assay.Constant(0.5))
    assert same(dataclasses.replace(QUICK, background=grey)(plain(), batch), constant(plain(), batch))
    with pytest.raises(ShapeError, match="background must return shape"):
        dataclasses.replace(QUICK, background=shorter)(plain(), batch)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(0, 3, 8, 8), EmptyBatchError, "empty"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), EmptyBatchError, "no images"),
        (torch.zeros(3, 8, 8), ShapeError, "N, C, H, W"),
        (torch.full((2, 3, 8, 8), torch.nan), NotFiniteError, "NaN"),
        ([1, 2], ImageTypeError, "torch tensor"),
        (torch.zeros(4, 3, 8, 8), DataError, "all 4 images into class"),
    ],
)
def test_images_that_cannot_be_used_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        QUICK(plain(), images)


def test_a_mask_cell_larger_than_the_images_is_refused(batch):
    with pytest.raises(ShapeError, match="upsample=9"):
        dataclasses.replace(QUICK, upsample=9)(plain(), batch)


def test_outputs_that_are_not_finite_name_the_image(batch):
    class Poisoned(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain()

        def forward(self, x):
            return self.net(x) * torch.where(x[:, :1, 0, 0] == 0.125, torch.nan, 1.0)

    spoilt = batch.clone()
    spoilt[2, 0, 0, 0] = 0.125
    with pytest.raises(NotFiniteError, match=r"image 2 \(1 of 12\)"):
        QUICK(Poisoned(), spoilt)


def test_a_tuning_that_diverges_says_so(batch):
    with pytest.raises(NotFiniteError, match=r"lower mask_lr or model_lr"):
        dataclasses.replace(QUICK, model_lr=1e30)(plain(), batch)


def test_what_is_no_network_is_refused(batch):
    with pytest.raises(ModelError, match=r"torch.nn.Module or an assay.Classifier"):
        QUICK("resnet", batch)
    with pytest.raises(ModelError, match="nothing to tune"):
        QUICK(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), batch)


@pytest.mark.parametrize(
    "wrong", ["rounds=0", "mask_lr=0", "model_lr=-1", "lambda_data=-1", "batch_size=0", "upsample=0", "precision='int8'"]
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(SpecError, match=f"DiET: {wrong.partition('=')[0]}"):
        assay.build(f"DiET({wrong})")


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_masks_are_the_mean_over_the_rounds_up_to_the_one_taken_and_no_others(batch, chosen):
    found = dataclasses.replace(QUICK, rounds=3, choice=RoundK(2))(plain(), batch)
    found = dataclasses.replace(found, chosen=chosen)
    grids = [one.masks for one in found.rounds]
    means = {rounds: torch.stack(grids[slice(*rounds)]).mean(0) for rounds in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]}
    assert [rounds for rounds, mean in means.items() if torch.allclose(found.grid, mean)] == [(0, chosen + 1)]
    torch.testing.assert_close(found.masks, assay.tune.simplify.enlarge_masks(means[0, chosen + 1], 8, 8))
    alone = dataclasses.replace(found, settings=dataclasses.replace(found.settings, average=False))
    assert torch.equal(alone.grid, grids[chosen])


def test_the_masks_are_the_mean_of_the_rounds_up_to_the_chosen_one():
    shrinking = [torch.full((2, 1, 2, 2), share) for share in (0.9, 0.5, 0.1)]
    rounds = tuple(Round(masks, {}, {"round": number}) for number, masks in enumerate(shrinking))
    made = Tuned(nn.Identity(), DiET(rounds=3), rounds, 1, (), torch.zeros(2, 3, 4, 4), assay.Classifier(normed()))
    torch.testing.assert_close(made.grid, torch.full((2, 1, 2, 2), 0.7))
    torch.testing.assert_close(made.masks, torch.full((2, 1, 4, 4), 0.7))
    assert torch.equal(made.rounded, torch.ones(2, 1, 4, 4))
