import dataclasses
import warnings

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

import assay
from assay.errors import AssayWarning
from assay.explain.superpixels import coalitions
from reference.nets import plain
from reference.surrogates import constrained_least_squares, exact_shapley, outputs, perturbed

TARGETS = torch.tensor([1, 0, 3])


def by_segment(maps, labels):
    count = int(labels.max()) + 1
    return torch.stack([maps[0][labels == segment].mean() for segment in range(count)])


def exact(net, image, labels, filled, target):
    players = int(labels.max()) + 1

    def value(chosen):
        members = [player in chosen for player in range(players)]
        with torch.no_grad():
            return float(net(perturbed(image, labels, filled, members)[None])[0, target])

    return exact_shapley(value, players)


@pytest.mark.parametrize("sampling", ["paired", "independent"])
@pytest.mark.parametrize("samples", [60, 101])
@pytest.mark.parametrize("background", [assay.Constant(0.0), assay.MeanColour()], ids=repr)
def test_coefficients_are_constrained_weighted_least_squares(sampling, samples, background, images):
    net, seed, index, segments = plain(nn.GELU), 5, torch.tensor([0, 7, 9]), assay.Grid(3, 3)
    explainer = assay.KernelShap(samples, segments, background, sampling, "regression")
    maps = explainer(assay.Classifier(net), images(), TARGETS, seed=seed, index=index)
    labels, filled = segments.labels(images()), background.fill(images(), index, seed)
    drawn = coalitions.shapley(seed, index, torch.full((3,), 9), samples - 2, sampling == "paired")
    for image in range(3):
        used = drawn.weights[image] > 0
        members = drawn.members[image][used].tolist()
        ends = [[False] * 9, [True] * 9]
        values = outputs(net, images()[image], labels[image], filled[image], members + ends, TARGETS[image])
        expected = constrained_least_squares(members, values[:-2], drawn.weights[image][used].tolist(), *values[-2:])
        found = by_segment(maps[image], labels[image])
        torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (1, 3), (2, 2), (1, 5), (2, 4), (2, 5)])
@pytest.mark.parametrize("background", [assay.Constant(0.0), assay.Blur(2.0)], ids=repr)
def test_enumerated_coalitions_give_the_exact_shapley_values(rows, columns, background, images):
    net, segments, batch = plain(), assay.Grid(rows, columns), images(1 if rows * columns > 8 else 2)
    model = assay.Classifier(net)
    maps = assay.KernelShap(2 ** (rows * columns), segments, background)(model, batch, TARGETS[: len(batch)])
    labels, filled = segments.labels(batch), background.fill(batch, torch.arange(len(batch)), 0)
    for image in range(len(batch)):
        expected = torch.from_numpy(exact(net, batch[image], labels[image], filled[image], TARGETS[image])).float()
        found = by_segment(maps[image], labels[image])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.filterwarnings("ignore:KernelShap. . passes cannot tell 9 superpixels:assay.errors.AssayWarning")
@pytest.mark.parametrize("sampling", ["paired", "independent"])
@pytest.mark.parametrize("samples", [4, 9, 30, 300])
def test_coefficients_sum_to_the_change_of_the_score_at_any_budget(sampling, samples, images):
    net, segments = plain(), assay.Grid(3, 3)
    maps = assay.KernelShap(samples, segments, sampling=sampling)(assay.Classifier(net), images(), TARGETS)
    labels = segments.labels(images())
    sums = torch.stack([by_segment(one, label).sum() for one, label in zip(maps, labels, strict=True)])
    rows = torch.arange(3)
    gap = (net(images())[rows, TARGETS] - net(torch.zeros_like(images()))[rows, TARGETS]).detach()
    torch.testing.assert_close(sums, gap, rtol=1e-4, atol=1e-4)


def test_a_model_with_one_interaction_shares_it_evenly():
    """f = x0 x1 + 3 x2: the Shapley values are 1/2, 1/2 and 3, by hand."""

    class Toy(nn.Module):
        def forward(self, x):
            a, b, c = x[:, 0, 0, 0], x[:, 0, 0, 1], x[:, 0, 0, 2]
            return torch.stack([a * b + 3 * c, 0 * a], 1)

    maps = assay.KernelShap(8, assay.Grid(1, 3))(assay.Classifier(Toy()), torch.ones(1, 1, 1, 3), torch.tensor([0]))
    torch.testing.assert_close(maps.flatten(), torch.tensor([0.5, 0.5, 3.0]))


@dataclasses.dataclass(frozen=True)
class Uneven(assay.Segments):
    """As many superpixels as an image's first pixel says."""

    reference = "a test's"

    def cut(self, images):
        side, numbers = torch.arange(images[0, 0].numel()).view(images.shape[2:]), images[:, 0, 0, 0].mul(255).round().long()
        return torch.stack([side * count // side.numel() for count in numbers])


def uneven(images, counts):
    batch = images(len(counts))
    batch[:, 0, 0, 0] = torch.tensor(counts) / 255
    return batch, torch.arange(len(counts)) % 4


def test_all_coalitions_of_images_with_different_numbers_of_superpixels_are_exact(images):
    net, (batch, targets) = plain(), uneven(images, [1, 2, 5, 9])
    explainer = assay.KernelShap(520, Uneven())
    maps, labels = explainer(assay.Classifier(net), batch, targets), explainer.segments.labels(batch)
    expected = exact(net, batch[2], labels[2], torch.zeros(3, 8, 8), 2)
    torch.testing.assert_close(by_segment(maps[2], labels[2]), torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [4, 5, 8, 14, 20, 41, 100, "auto"])
@pytest.mark.parametrize("estimator", ["process", "regression", "auto"])
def test_images_with_different_numbers_of_superpixels_do_not_disturb_each_other(images, samples, estimator, monkeypatch):
    monkeypatch.setattr("assay.explain.superpixels.surrogate._FIRST", 32)
    monkeypatch.setattr("assay.explain.superpixels.surrogate._MOST", 128)
    batch, targets = uneven(images, [1, 2, 3, 5, 9, 17, 30, 50])
    explainer, model = assay.KernelShap(samples, Uneven(), estimator=estimator, error=1e-3), assay.Classifier(plain())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssayWarning)
        before = model.passes.forward
        found = explainer.posterior(model, batch, targets)
        assert model.passes.forward - before == int((found.passes - 1).sum()) + 1
        change = model.score(model.logits(batch), targets) - model.score(model.logits(torch.zeros_like(batch)), targets)
        torch.testing.assert_close(found.mean.sum(1), change, rtol=1e-4, atol=1e-4)
        for image in range(len(batch)):
            index = torch.tensor([image])
            alone = explainer.posterior(model, batch[index], targets[index], index=index)
            count = int(alone.counts)
            torch.testing.assert_close(found.mean[image, :count], alone.mean[0], rtol=1e-4, atol=1e-5)
            assert not found.mean[image, count:].any()
            assert found.passes[image] == alone.passes[0]


def test_a_posterior_is_float32_whatever_torchs_default_is(images):
    explainer, model, batch = assay.KernelShap(20, assay.Grid(3, 3)), assay.Classifier(plain()), images(2)
    usual = explainer.posterior(model, batch)
    torch.set_default_dtype(torch.float64)
    try:
        found = explainer.posterior(model, batch)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found.mean, usual.mean)


def test_errors_at_100_samples_are_below_captums_at_300(images):
    """12 superpixels, both measured against enumeration; seeds of both are fixed."""
    segments, net = assay.Grid(3, 4), plain(size=12)
    batch, targets = images(4, size=12, seed=3), torch.tensor([0, 1, 2, 3])
    labels = segments.labels(batch)
    truth = assay.KernelShap(4096, segments)(assay.Classifier(net), batch, targets)
    mine = [assay.KernelShap(100, segments)(assay.Classifier(net), batch, targets, seed=seed) - truth for seed in range(3)]
    theirs = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np_state = np.random.get_state()
        np.random.seed(0)
        peer = captum.attr.KernelShap(net)
        for image in range(4):
            mask, target = labels[image][None, None], int(targets[image])
            one = peer.attribute(batch[image : image + 1], target=target, feature_mask=mask, n_samples=300)
            theirs.append(one[:, :1] - truth[image : image + 1])
        np.random.set_state(np_state)
    assert torch.stack(mine).square().mean().sqrt() <= torch.cat(theirs).square().mean().sqrt()


@pytest.mark.parametrize(("fewer", "more"), [(100, 158), (150, 170), (158, 240), (500, 600)])
def test_more_samples_never_err_much_more(fewer, more, images):
    """Around 158 and 598 samples, taking one more size of 12 superpixels whole would leave hardly any for the others."""
    segments, model = assay.Grid(3, 4), assay.Classifier(plain())
    truth = assay.KernelShap(4096, segments)(model, images(), TARGETS)

    def error(samples):
        maps = [assay.KernelShap(samples, segments)(model, images(), TARGETS, seed=seed) for seed in range(4)]
        return (torch.stack(maps) - truth).square().mean().sqrt()

    assert error(more) < 1.15 * error(fewer)


def test_pairs_err_less_than_independent_coalitions_at_equal_passes(images):
    segments, model = assay.Grid(3, 4), assay.Classifier(plain())
    truth = assay.KernelShap(4096, segments)(model, images(), TARGETS)

    def error(sampling):
        explainer = assay.KernelShap(80, segments, sampling=sampling)
        return torch.stack([explainer(model, images(), TARGETS, seed=seed) - truth for seed in range(5)]).square().mean()

    assert error("paired") < error("independent")
