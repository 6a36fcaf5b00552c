"""Shapley values by sampled orders: exact with all of them, complete with any, and Captum's with its own orders."""

import itertools

import pytest
import torch

import assay
from assay.explain.superpixels.permutations import orders_drawn
from reference.nets import plain

TARGETS = torch.tensor([1, 0, 2])
GRID = assay.Grid(rows=2, columns=2)


@pytest.fixture(scope="module")
def batch():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def shown(image, which):
    """The image with cells other than these black."""
    cells = torch.arange(2).repeat_interleave(4)
    labels = cells[:, None] * 2 + cells
    return torch.where(sum((labels == one) for one in which) > 0, image, 0.0) if which else torch.zeros_like(image)


def value(net, image, which, target):
    with torch.no_grad():
        return float(net(shown(image, which)[None])[0, target])


@pytest.mark.parametrize("paired", [True, False])
def test_a_map_is_its_slow_twin(paired, batch):
    net, index = plain(), torch.tensor([5, 0, 9])
    found = assay.ShapleySampling(permutations=3, segments=GRID, paired=paired)(assay.Classifier(net), batch, TARGETS, seed=4, index=index)
    ranks = orders_drawn(4, index, torch.full((3,), 4), 3, paired)
    for place, (image, target) in enumerate(zip(batch, TARGETS.tolist(), strict=True)):
        sums = torch.zeros(4)
        for order in ranks[place].argsort(1).tolist():
            for size, joined in enumerate(order):
                sums[joined] += value(net, image, order[: size + 1], target) - value(net, image, order[:size], target)
        torch.testing.assert_close(found[place, 0, ::4, ::4].flatten(), sums / 3, rtol=1e-4, atol=1e-5)


def test_many_orders_come_to_the_exact_values(batch):
    net = plain()
    found = assay.ShapleySampling(permutations=600, segments=GRID)(assay.Classifier(net), batch, TARGETS)
    for place, (image, target) in enumerate(zip(batch, TARGETS.tolist(), strict=True)):
        sums = torch.zeros(4)
        for order in itertools.permutations(range(4)):
            for size, joined in enumerate(order):
                sums[joined] += value(net, image, order[: size + 1], target) - value(net, image, order[:size], target)
        assert (found[place, 0, ::4, ::4].flatten() - sums / 24).abs().max() < 0.05 * sums.abs().max() / 24


def test_any_number_of_orders_shares_out_the_whole_score(batch):
    net = plain()
    model = assay.Classifier(net)
    for segments in (assay.Grid(rows=3, columns=2), assay.Slic(count=6)):
        found = assay.ShapleySampling(permutations=1, segments=segments)(model, batch, TARGETS)
        labels = segments.labels(batch)
        gap = (model.logits(batch) - model.logits(torch.zeros_like(batch)))[range(3), TARGETS]
        total = torch.stack([sum(maps[0][cells == one][0] for one in cells.unique()) for maps, cells in zip(found, labels, strict=True)])
        torch.testing.assert_close(total, gap, rtol=1e-4, atol=1e-4)


def test_paired_orders_are_reversed_and_lie_within_each_images_own_superpixels():
    counts = torch.tensor([5, 3])
    ranks = orders_drawn(0, torch.tensor([7, 8]), counts, 7, True)
    assert ranks.shape == (2, 7, 5)
    for image, count in enumerate(counts.tolist()):
        own = ranks[image, :, :count]
        assert torch.equal(own.sort(1).values, torch.arange(count).expand(7, -1))
        assert torch.equal(own[0:6:2] + own[1:6:2], torch.full((3, count), count - 1))
    assert len(ranks[0, ::2].unique(dim=0)) > 1


def test_images_of_one_superpixel_get_the_whole_difference(batch):
    model = assay.Classifier(plain())
    found = assay.ShapleySampling(permutations=4, segments=assay.Grid(rows=1, columns=1))(model, batch, TARGETS)
    gap = (model.logits(batch) - model.logits(torch.zeros_like(batch)))[range(3), TARGETS]
    torch.testing.assert_close(found[:, 0, 0, 0], gap, rtol=1e-4, atol=1e-5)
