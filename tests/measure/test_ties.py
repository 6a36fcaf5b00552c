"""Equal values: where in the image they lie does not matter, and a map of nothing else has no score."""

import itertools

import pytest
import torch
from torch import nn

import assay
from reference.measures import mask_iou
from reference.nets import Function, plain

TARGETS = torch.tensor([1, 0, 3])
RANKING = [
    assay.Deletion(7),
    assay.Insertion(7, assay.Constant(0.3)),
    assay.KeepTop(0.2),
    assay.KeepTop(0.2, order="signed"),
    assay.MaskIoU(),
    assay.MaskIoU("magnitude"),
    assay.PointingGame(),
    assay.Road((0.25, 0.75), noise=0.0),
    assay.SingleDeletion(),
    assay.TruthShare(),
    assay.DistractorShare(),
    assay.MarginalContribution(16, "spearman"),
]
EVERY = pytest.mark.parametrize("measure", RANKING, ids=repr)
DRAWING = (assay.Deletion, assay.Insertion, assay.KeepTop, assay.Road)
"""These draw an order of equal pixels."""


class Turned(nn.Module):
    """The network, which sees images from the other side."""

    def __init__(self, net, sides):
        super().__init__()
        self.net, self.sides = net, sides

    def forward(self, x):
        return self.net(x.flip(self.sides))


def masks(count=3):
    found = torch.zeros(count, 1, 8, 8, dtype=torch.bool)
    found[:, :, :3, 1:6] = True
    return found


def needed(measure, truth):
    return dict.fromkeys(measure.needs, truth)


def tied(kind):
    """Maps with many equal values: zero but for a corner, of cells, of few levels."""
    generator = torch.Generator().manual_seed(2)
    if kind == "half":
        maps = torch.zeros(3, 1, 8, 8)
        maps[:, :, :4, :3] = torch.rand(3, 1, 4, 3, generator=generator)
        return maps
    if kind == "cells":
        return torch.randn(3, 1, 2, 2, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)
    return torch.randint(-1, 2, (3, 1, 8, 8), generator=generator).float()


@EVERY
@pytest.mark.parametrize("value", [0.0, 1.0, -0.3])
def test_a_map_without_variation_has_no_score(measure, value, images):
    flat = torch.full((3, 1, 8, 8), value)
    flat[1, 0, 0, 0] += 1
    found = measure(assay.Classifier(plain()), images(), flat, TARGETS, **needed(measure, masks()))
    assert found.isnan().tolist()[::2] == [True, True]
    if not isinstance(measure, assay.TruthShare | assay.DistractorShare) or value == 0.0:
        assert found[1].isfinite()


@EVERY
@pytest.mark.parametrize("kind", ["half", "cells", "levels"])
@pytest.mark.parametrize("sides", [(2,), (3,), (2, 3)], ids=str)
def test_flipping_everything_changes_nothing(measure, kind, sides, images):
    net, maps = plain(nn.GELU), tied(kind)
    # Copies of the images under numbers of their own: each has draws of its own.
    draws = 48 if isinstance(measure, DRAWING) else 1
    pixels, maps, targets, truth = (one.repeat(draws, *[1] * (one.dim() - 1)) for one in (images(), maps, TARGETS, masks()))
    one = measure(assay.Classifier(net), pixels, maps, targets, **needed(measure, truth)).view(draws, 3)
    turned = needed(measure, truth.flip(sides))
    other = measure(assay.Classifier(Turned(net, sides)), pixels.flip(sides), maps.flip(sides), targets, **turned).view(draws, 3)
    assert one.isfinite().any()
    error = (one.var(0) + other.var(0)).div(draws).sqrt() if draws > 1 else torch.zeros(3)
    assert ((one.mean(0) - other.mean(0)).abs() <= 4 * error + 1e-4).logical_or(one.isnan().all(0)).all()
    assert torch.equal(one.isnan(), other.isnan())


@pytest.mark.parametrize("order", ["signed", "magnitude"])
def test_iou_is_the_mean_over_all_orders_of_equal_pixels(order):
    generator = torch.Generator().manual_seed(0)
    model = assay.Classifier(Function(lambda x: x.sum(1)))
    for size in range(1, 6):
        maps = torch.randint(-1, 2, (1, 1, 2, 3), generator=generator).float()
        truth = (torch.randperm(6, generator=generator) < size).view(1, 1, 2, 3)
        values = (maps.abs() if order == "magnitude" else maps).flatten()
        scores = []
        for way in itertools.permutations(range(6)):
            # Small changes of equal values in each of all orders.
            moved = values + 1e-3 * torch.tensor(way)
            scores.append(mask_iou(moved.view(1, 2, 3) + 2, truth[0, 0], order))
        found = assay.MaskIoU(order)(model, torch.full((1, 3, 2, 3), 0.5), maps, torch.tensor([0]), truth=truth)
        assert found.item() == pytest.approx(sum(scores) / len(scores))


def test_deletion_takes_the_mean_over_the_times_at_which_the_one_pixel_that_counts_goes():
    """The pixel is one of 32 equal ones that go first: an order of them and its reverse have the mean over all."""
    model = assay.Classifier(Function(lambda x: 4 * x[:, 20]))
    half = torch.zeros(1, 1, 8, 8)
    half[:, :, :4] = 1.0
    high, low = torch.tensor(4.0).sigmoid().item(), 0.5
    found = assay.Deletion(steps=64)(model, torch.ones(1, 1, 8, 8), half, torch.tensor([0]))
    assert found.item() == pytest.approx(((high + low) / 2 + low) / 2, abs=1e-5)


def test_keeping_some_of_equal_pixels_is_between_keeping_none_and_all():
    """Of 32 equal pixels 16 are kept, and one of the 32 decides: half the orders keep it."""
    model = assay.Classifier(Function(lambda x: x[:, 20] - 0.5))
    image, half = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    image[0, 0, 2, 4], half[:, :, :4] = 1.0, 1.0
    assert assay.KeepTop(0.25)(model, image, half, torch.tensor([0])).item() == 0.5


def test_the_mask_at_the_top_and_below_scores_the_same_on_an_empty_map_with_one_pixel():
    top = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    top[:, :, :8] = True
    maps = torch.zeros(1, 1, 32, 32)
    maps[0, 0, 16, 16] = 1.0
    model = assay.Classifier(plain(size=32))
    one, other = (
        assay.MaskIoU()(model, torch.full((1, 3, 32, 32), 0.5), maps, torch.tensor([0]), truth=mask) for mask in (top, top.flip(2))
    )
    assert one.item() == pytest.approx(other.item())
    # 255 of 1023 equal pixels come first, about 64 of them in the mask: 64 / (512 - 64).
    assert one.item() == pytest.approx(1 / 7, abs=2e-3)


def test_the_top_of_a_map_has_everything_in_common_with_itself_and_does_not_depend_on_place():
    maps, other = tied("half"), tied("levels")
    for distance in (assay.TopK(0.3), assay.TopK(0.3, signed=True)):
        assert torch.equal(distance(maps, maps), torch.zeros(3))
        torch.testing.assert_close(distance(maps, other), distance(maps.flip(2), other.flip(2)))


def test_a_map_of_zeros_is_not_called_robust(images):
    model = assay.Classifier(Function(lambda x: 0 * x.sum(1)))
    attack = assay.NoiseMapAttack(eps=0.01)
    maps = assay.Gradient()(model, images(), torch.tensor([0, 0, 0]))
    found = assay.AttackedSimilarity(attack)(model, images(), maps, torch.tensor([0, 0, 0]), explainer=assay.Gradient())
    assert found.isnan().all()
