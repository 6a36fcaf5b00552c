"""`PAPER` and its explainer, step for step against a twin written from the description of the authors' script."""

import copy
import dataclasses

import pytest
import torch

import assay
from assay.core.noise import derive
from assay.errors import SpecError
from assay.tune.choice import RoundK
from assay.tune.diet import PAPER, DiET
from assay.tune.drawn_backgrounds import RandomColour
from assay.tune.masks import batch_sizes, learn
from assay.tune.model import shuffled
from assay.tune.schedules import Converged, Epochs
from reference import diet as twin
from reference.nets import plain

SMALL = dataclasses.replace(PAPER, upsample=2, mask_lr=6.0, model_lr=1e-3, batch_size=5)
"""The recipe on images of 8 pixels: 12 of them are batches of 5, 5 and 2."""
GRID = (4, 4)
APART = {10.0: 1e-5, 300.0: 1e-3}
"""What rounding may make of an epoch, by the network's sharpness."""


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(12, 3, 8, 8, generator=generator) * torch.rand(12, 3, 1, 1, generator=generator)


def centred(images, sharpness):
    """A network that puts the images into several classes, the more surely the larger `sharpness` is."""
    net = plain()
    with torch.no_grad():
        net[-1].bias.sub_(net(images).mean(0))
        net[-1].weight.mul_(sharpness)
        net[-1].bias.mul_(sharpness)
    return net


def drawn(images, seed, clock, name="DiET epoch {}", background=PAPER.background):
    draw = derive(seed, name.format(clock))
    return background.fill(images, torch.arange(len(images)), draw), shuffled(len(images), draw)


def steps_apart(images, sharpness, settings=SMALL, seed=3):
    """For every epoch the largest difference between ours and the script's, of loss, masks and logits, from the same state.

    Of logits and not of weights: where the network is saturated, a weight's slope can be rounding noise, and Adam makes a step of full
    size of it, whose sign depends on the processor.

    From the same state each time, since a mask at the brink of a class goes one way or the other by rounding noise.
    """
    net, other = centred(images, sharpness), centred(images, sharpness)
    with torch.no_grad():
        other[-1].weight.add_(0.1 * torch.randn(other[-1].weight.shape, generator=torch.Generator().manual_seed(0)))
    tuning = settings.begin(net, images, seed=seed)
    tuning.wanted = other(images).softmax(1).detach()  # f_v starts away from f_b, so that its first steps are not of rounding noise
    script = twin.Script(copy.deepcopy(net), tuning.wanted, images, GRID, SMALL.mask_lr, SMALL.model_lr, SMALL.batch_size)
    apart, losses, phase = [], [], "masks"
    for clock, row in enumerate(tuning.epochs()):
        behind, order = drawn(images, seed, clock)
        k = row["round"] - 1
        if row["phase"] != phase:
            phase, losses = row["phase"], []
            if phase == "model":
                script.round_masks(k, 5)
        loss = script.mask_epoch(1 - 0.9 * k / 5, behind, order) if phase == "masks" else script.model_epoch(behind, order)
        losses.append(row["loss"])
        over = {"masks": twin.masks_over, "model": twin.model_over}[phase](losses)
        assert over == (not tuning.losses)
        masks = [(script.masks - tuning.learned.masks).abs().max().item()] if phase == "masks" else [0.0]
        with torch.no_grad():
            theirs, ours = script.net(images), tuning.net(images)
            apart.append(max(abs(loss / row["loss"] - 1), *masks, ((theirs - ours).abs().max() / theirs.abs().max()).item()))
            if phase == "masks":
                script.masks.copy_(tuning.learned.masks)
            script.net.load_state_dict(tuning.net.state_dict())
    assert torch.equal(script.masks, tuning.learned.masks)  # rounded alike
    return apart, settings.finish(tuning)


@pytest.mark.parametrize("sharpness", [10.0, 300.0], ids=["plain", "saturated"])
def test_it_follows_the_authors_script_step_for_step(images, sharpness):
    apart, found = steps_apart(images, sharpness)
    assert max(apart) < APART[sharpness]
    assert len(apart) > 40
    assert len(found.rounds) == 2
    assert 0 < (found.rounds[0].masks == 0).float().mean() < 1  # there are cells whose size has no slope


def test_the_saturated_network_is_one(images):
    sure = centred(images, 300.0)(images).softmax(1).max(1).values
    assert (1 - sure < 1e-5).float().mean() > 0.5


@pytest.mark.parametrize(
    ("sharpness", "changes"), [(300.0, {"tolerance": 1e-5}), (10.0, {"mask_optimiser": "sgd", "mask_lr": SMALL.mask_lr / 16 / 5})]
)
def test_with_a_tolerance_or_a_slope_at_0_it_would_not(images, sharpness, changes):
    apart, _ = steps_apart(images, sharpness, dataclasses.replace(SMALL, **changes))
    assert max(apart) > 2 * APART[sharpness]


def test_what_is_taken_is_the_model_and_the_soft_mask_of_round_1_alone(images):
    found = SMALL(centred(images, 10.0), images)
    assert [row["round"] for row in found.history] == [1, 2]
    assert [row["chosen"] for row in found.history] == [False, True]
    assert torch.equal(found.grid, found.rounds[1].masks)
    assert not torch.equal(found.grid, found.rounds[0].masks)


@pytest.mark.parametrize("sharpness", [10.0, 300.0], ids=["plain", "saturated"])
def test_masks_of_new_images_follow_the_authors_script(images, sharpness, monkeypatch):
    net, seed = centred(images, sharpness), 4
    settings = dataclasses.replace(SMALL, upsample=1, mask_lr=30.0, mask_stop=Epochs(1), model_stop=Epochs(1))
    explainer = settings(net, images).explainer()
    assert explainer.background == RandomColour(None, (0.05,))
    wanted, model, epochs = net(images).softmax(1).detach(), assay.Classifier(net), []

    def watched(model, on, learned, *rest):
        sums = learn(model, on, learned, *rest)
        epochs.append(learned.masks.clone())
        return sums

    monkeypatch.setattr("assay.tune.explainer.learn", watched)
    found = explainer(model, images, seed=seed)
    script, losses = twin.Script(copy.deepcopy(net), wanted, images, (8, 8), 30.0, 1.0, SMALL.batch_size), []
    for ours in epochs:
        assert not losses or not twin.new_masks_over(losses)
        losses.append(script.mask_epoch(1.0, *drawn(images, seed, len(losses), "LearnedMask 0 {}", explainer.background), first=0.0))
        torch.testing.assert_close(ours, script.masks, rtol=0, atol=1e-3)
        with torch.no_grad():
            script.masks.copy_(ours)
    assert twin.new_masks_over(losses)
    assert torch.equal(found, epochs[-1])
    assert (found < 0.5).any()
    assert len(losses) > 3


def test_no_phase_has_a_limit_to_its_epochs():
    assert PAPER.mask_stop == Converged(0.995, 1.005)
    assert PAPER.model_stop == Converged(0.97, 1.005, 0.025)
    assert PAPER.mask_stop.most is PAPER.model_stop.most is None
    assert not PAPER.mask_stop.reached([float(n) for n in range(10_000, 0, -1)])


def test_the_last_batch_is_what_is_left_of_the_order():
    sizes = batch_sizes(7, 3, torch.tensor([6, 5, 4, 3, 2, 1, 0]))
    assert sizes.tolist() == [1, 3, 3, 3, 3, 3, 3]


def test_a_round_after_the_last_is_refused():
    with pytest.raises(SpecError, match=r"RoundK\(k=5\) is the round after the last of 5"):
        dataclasses.replace(PAPER, choice=RoundK(5))
    assert DiET(rounds=3, choice=RoundK(2)).choice.needed(3) == 3


@pytest.mark.parametrize("spec", ['LearnedMask(optimiser="paper")', "LearnedMask(batch_size=3)"])
def test_a_batch_size_is_of_the_papers_steps_alone(spec):
    with pytest.raises(SpecError, match="batch_size is of optimiser"):
        assay.build(spec)
