import itertools
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import assay
from assay.errors import AssayWarning
from assay.explain.superpixels import coalitions

INDEX = torch.arange(2)


def kernel_share(n):
    weights = {k: (n - 1) / (k * (n - k)) for k in range(1, n)}
    return {k: weight / sum(weights.values()) for k, weight in weights.items()}


def size_shares(drawn, n, image=0):
    sizes = drawn.members[image].sum(1)
    return {k: float(drawn.weights[image][sizes == k].sum()) for k in range(1, n)}


@settings(max_examples=40)
@given(st.integers(2, 14), st.integers(2, 200), st.booleans(), st.integers(0, 99))
def test_weights_sum_to_one_and_the_trivial_coalitions_are_left_out(n, samples, paired, seed):
    drawn = coalitions.shapley(seed, INDEX, torch.tensor([n, n]), samples, paired)
    # A budget that ends with the sizes 1 and n - 1 leaves nothing to stand for the others.
    assume(not paired or n < 4 or not 2 * n <= samples < 2 * n + 2)
    torch.testing.assert_close(drawn.weights.sum(1), torch.ones(2, dtype=torch.float64))
    sizes = drawn.members.sum(2)[drawn.weights > 0]
    assert ((sizes > 0) & (sizes < n)).all()
    assert drawn.members.shape == (2, samples, n)


@settings(max_examples=40)
@given(st.integers(2, 14), st.integers(2, 200), st.integers(0, 99))
def test_pairs_are_complements_with_equal_weight(n, samples, seed):
    drawn = coalitions.distinct(coalitions.shapley(seed, INDEX, torch.tensor([n, n]), samples, True))
    for image in range(2):
        used = drawn.weights[image] > 0
        held = {tuple(row): w for row, w in zip(drawn.members[image][used].tolist(), drawn.weights[image][used].tolist(), strict=True)}
        for row, weight in held.items():
            assert held[tuple(not stays for stays in row)] == pytest.approx(weight)


@pytest.mark.parametrize("n", [3, 6, 9])
def test_everything_is_enumerated_with_the_kernels_weights_where_it_fits(n):
    drawn = coalitions.shapley(0, INDEX, torch.tensor([n, n]), 2**n - 2, True)
    rows = {tuple(row) for row in drawn.members[0].tolist()}
    assert rows == {row for row in itertools.product([False, True], repeat=n) if 0 < sum(row) < n}
    share = kernel_share(n)
    expected = torch.tensor([share[sum(row)] / math.comb(n, sum(row)) for row in drawn.members[0].tolist()], dtype=torch.float64)
    torch.testing.assert_close(drawn.weights[0], expected)


def test_sizes_one_and_n_minus_one_are_exact_in_the_default_budget():
    n = 30
    drawn = coalitions.shapley(0, INDEX, torch.tensor([n, n]), 98, True)
    sizes = drawn.members[0].sum(1)
    assert int((sizes == 1).sum()) == n
    assert int((sizes == n - 1).sum()) == n
    shares = size_shares(drawn, n)
    assert shares[1] == pytest.approx(kernel_share(n)[1])


def scored(drawn, value):
    """Scores (N, S) of a game of 0 and 1, where the coalition is to be run."""
    return torch.where(drawn.weights > 0, value(drawn.members.double()), 0.0)


@settings(max_examples=80)
@given(st.integers(3, 60), st.integers(2, 118), st.integers(0, 99))
def test_a_budget_below_all_single_superpixels_goes_to_groups_and_then_to_some_alone(n, samples, seed):
    assume(samples < 2 * n)
    counts, pairs = torch.tensor([n, n]), samples // 2
    first = coalitions.distinct(coalitions.shapley(seed, INDEX, counts, samples, True))
    groups = first.members[:, ::2][:, (first.weights > 0)[0, ::2]]
    assert (groups.sum(1) <= 1).all()
    assert groups.sum(2).amax() - groups.sum(2).amin() <= 1
    assert groups.shape[1] <= pairs
    assert pairs < 3 or (groups.sum(1) == 1).all()
    more = coalitions.singled(first, scored(first, lambda x: x.sum(2)), torch.zeros(2), torch.full((2,), float(n)), counts, samples)
    both, fresh = coalitions.joined(first, more)
    assert ((both.weights > 0).sum(1) == 2 * pairs).all(), "no pass is spent twice, or spared"
    torch.testing.assert_close(both.weights.sum(1), torch.ones(2, dtype=torch.float64))
    assert both.weights[both.weights > 0].unique().numel() == 1 or both.weights.amax() - both.weights[both.weights > 0].amin() < 1e-12
    assert (fresh.members[fresh.weights > 0].sum(1) % (n - 2) == 1).all() or n == 3


@pytest.mark.parametrize("lone", [False, True])
def test_superpixels_of_the_groups_that_count_are_told_apart(lone):
    """Of 40 superpixels three count; 30 pairs of coalitions find out each of them, whichever way its score moves."""
    n, worth = 40, torch.zeros(40, dtype=torch.float64)
    worth[[3, 17, 30]] = torch.tensor([5.0, -4.0, 2.0], dtype=torch.float64)

    def value(x):
        return x @ worth + (0.0 if lone else 3.0 * x[..., 3] * x[..., 17])

    counts = torch.tensor([n, n])
    full = value(torch.ones(2, n, dtype=torch.float64))
    first = coalitions.distinct(coalitions.shapley(0, INDEX, counts, 60, True))
    more = coalitions.singled(first, scored(first, value), torch.zeros(2, dtype=torch.float64), full, counts, 60)
    alone = more.members[:, ::2].sum(1)
    assert alone[:, [3, 17, 30]].all()
    assert (more.members[:, ::2].sum(2) == 1).all()
    assert torch.equal(more.members[:, 1::2], ~more.members[:, ::2])


def test_of_superpixels_that_were_all_alone_none_is_singled_again():
    counts = torch.tensor([5, 30])
    drawn = coalitions.distinct(coalitions.shapley(0, INDEX, counts, 40, True))
    values = torch.randn(drawn.weights.shape, generator=torch.Generator().manual_seed(0))
    more = coalitions.singled(drawn, values, torch.zeros(2), torch.ones(2), counts, 40)
    assert not more.weights[0].any()
    assert int((more.weights[1] > 0).sum()) == 40 - int((drawn.weights[1] > 0).sum())
    assert not more.members[0, :, 5:].any()


def test_passes_short_of_all_single_superpixels_err_little_more_than_enough_of_them():
    """Coalitions of drawn sizes err by 0.24 here, a pair before all single superpixels fit, and by 0.6 at 26 passes."""
    model, data, grid = assay.load("hard-digits"), assay.data.load("hard-digits"), assay.Grid(5, 5)
    images = assay.data.read(data, assay.data.choose(data, 4, 1)).images
    truth = assay.ShapleySampling(60, grid)(model, images, seed=1).flatten(1)

    def error(passes):
        found = assay.KernelShap(passes, grid)(model, images).flatten(1)
        return float(((found - truth).norm(dim=1) / truth.norm(dim=1)).mean())

    with pytest.warns(AssayWarning, match="26 passes cannot tell 25"):
        assert error(26) < 0.45
    assert error(50) < 0.15


@pytest.mark.parametrize("paired", [True, False])
def test_sizes_are_drawn_by_the_shapley_kernel(paired):
    n, samples = 12, 6000 if not paired else 1500
    drawn = coalitions.shapley(1, INDEX, torch.tensor([n, n]), samples, paired)
    expected = kernel_share(n)
    for size, share in size_shares(drawn, n).items():
        assert abs(share - expected[size]) < 4.5 * math.sqrt(expected[size] / samples)


@pytest.mark.parametrize("paired", [True, False])
def test_every_superpixel_is_drawn_alike(paired):
    n, samples = 12, 2000
    drawn = coalitions.shapley(2, INDEX, torch.tensor([n, n]), samples, paired)
    often = (drawn.members[0].double() * drawn.weights[0][:, None]).sum(0)
    assert (often - 0.5).abs().max() < 4.5 * math.sqrt(0.25 / samples)


def test_lime_keeps_each_superpixel_with_even_chance_and_independently():
    stays = coalitions.bernoulli(0, INDEX, torch.tensor([10, 6]), 4000).members.double()
    assert (stays[0].mean(0) - 0.5).abs().max() < 4.5 * 0.5 / math.sqrt(4000)
    assert stays[1, :, 6:].sum() == 0
    correlation = torch.corrcoef(stays[0].T) - torch.eye(10)
    assert correlation.abs().max() < 4.5 / math.sqrt(4000)
    assert abs(torch.corrcoef(torch.stack([stays[0, :, 0], stays[1, :, 0]]))[0, 1]) < 4.5 / math.sqrt(4000)


@settings(max_examples=50)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 99))
def test_making_coalitions_distinct_keeps_the_weight_of_each(n, samples, seed):
    drawn = coalitions.bernoulli(seed, INDEX, torch.tensor([n, n]), samples)
    once = coalitions.distinct(drawn)
    for image in range(2):

        def weights(given, image=image):
            held = {}
            for row, weight in zip(given.members[image].tolist(), given.weights[image].tolist(), strict=True):
                held[tuple(row)] = held.get(tuple(row), 0) + weight
            return held

        assert weights(once) == pytest.approx(weights(drawn))
        rows = [tuple(row) for row in once.members[image][once.weights[image] > 0].tolist()]
        assert len(rows) == len(set(rows))
