import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from assay.core.order import along, brackets, larger, mean_ranks, membership

FEW = st.lists(st.integers(0, 3), min_size=1, max_size=6)


def orders(values):
    """Every order of the places in which no value comes before a larger one."""
    places = range(len(values))
    return [order for order in itertools.permutations(places) if all(values[a] >= values[b] for a, b in itertools.pairwise(order))]


@given(FEW)
def test_larger_values_are_counted(values):
    expected = [sum(other > value for other in values) for value in values]
    assert larger(torch.tensor([values]).float()).tolist() == [expected]


@given(FEW)
def test_mean_ranks_are_scipys(values):
    found = mean_ranks(torch.tensor([values]).float())[0]
    assert found.tolist() == pytest.approx(list(stats.rankdata(values) - 1))


@given(FEW, st.data())
def test_membership_is_the_chance_over_all_orders_of_equal_values(values, data):
    count = data.draw(st.integers(0, len(values)))
    every = orders(values)
    expected = [sum(place in order[:count] for order in every) / len(every) for place in range(len(values))]
    assert membership(torch.tensor([values]).float(), count)[0].tolist() == pytest.approx(expected)


@given(FEW, st.data())
def test_a_cut_lies_between_the_ends_of_the_group_it_runs_through(values, data):
    cut = data.draw(st.integers(0, len(values)))
    before = larger(torch.tensor([values]).float())
    low, high = (int(end) for end in brackets(before, torch.tensor([cut])))
    ends = {0, *(sum(other >= value for other in values) for value in values)}
    assert low == max(end for end in ends if end <= cut)
    assert high == min(end for end in ends if end >= cut)


@given(st.lists(FEW.filter(lambda v: len(v) > 1), min_size=1, max_size=1), st.integers(0, 99))
def test_outcomes_that_are_sums_have_their_exact_mean_over_the_orders_of_equal_values(several, seed):
    values = several[0]
    gains = torch.rand(len(values), generator=torch.Generator().manual_seed(seed))
    cuts = torch.arange(len(values) + 1)
    before = larger(torch.tensor([[values]]).float())

    def run(rows, kinds, sizes):
        assert rows.tolist() == sorted(rows.tolist())
        return torch.stack([(gains * (before[row, kind] < size)).sum() for row, kind, size in zip(rows, kinds, sizes, strict=True)])

    every = orders(values)
    expected = [sum(float(gains[list(order[:cut])].sum()) for order in every) / len(every) for cut in cuts.tolist()]
    assert along(before, cuts, run)[0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_each_end_is_run_once():
    before = larger(torch.tensor([[[1.0, 1, 1, 1, 0, 0]], [[5.0, 4, 3, 2, 1, 0]]]))
    seen = []

    def run(rows, kinds, sizes):
        seen.extend(zip(rows.tolist(), kinds.tolist(), sizes.tolist(), strict=True))
        return sizes.float()

    found = along(before, torch.tensor([1, 2, 3]), run)
    assert seen == [(0, 0, 0), (0, 0, 4), (1, 0, 1), (1, 0, 2), (1, 0, 3)]
    assert found.tolist() == [[[1, 2, 3]], [[1, 2, 3]]]
