import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from assay.core import order
from assay.core.order import Along, brackets, correlation, cosine, larger, last_of_top, mean_ranks, membership

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


def run_of(outcome):
    """Runs along orders: the outcome of each set of values that come first."""

    def run(rows, cuts, inside):
        assert rows.tolist() == sorted(rows.tolist())
        first = inside(torch.arange(len(rows)))
        assert torch.equal(first.sum(1), cuts)
        return torch.stack([outcome(one) for one in first])

    return run


@given(FEW.filter(lambda v: len(v) > 1), st.integers(0, 99))
def test_a_sum_has_its_exact_mean_along_a_group_of_equal_values(values, seed):
    gains = torch.rand(len(values), generator=torch.Generator().manual_seed(seed))
    before, cuts = larger(torch.tensor([[values]]).float()), torch.arange(len(values) + 1)
    every = orders(values)
    expected = torch.tensor([sum(float(gains[list(order[:cut])].sum()) for order in every) / len(every) for cut in cuts.tolist()])
    found = Along(before, torch.tensor([3]), seed)(cuts, run_of(lambda first: gains[first].sum()))[0, 0]
    ends = [0, *sorted({sum(other >= value for other in values) for value in values})]
    for start, stop in itertools.pairwise(ends if len(ends) > 2 else []):
        assert found[start] == pytest.approx(float(expected[start]), abs=1e-5)
        assert found[start : stop + 1].mean() == pytest.approx(float(expected[start : stop + 1].mean()), abs=1e-5)


def test_an_outcome_of_several_values_together_is_right_on_average_over_the_seeds():
    values, weights = [1, 0, 0, 2, 0, 0], torch.tensor([1.0, 2, 3, 4, 5, 6])

    def outcome(first):
        return (weights[first].sum() / 3).tanh()

    before, cuts, index = larger(torch.tensor([values]).float()).expand(500, 1, -1), torch.arange(7), torch.arange(500)
    found = torch.cat([Along(before, index, seed)(cuts, run_of(outcome))[:, 0] for seed in range(2)])
    every = orders(values)
    for cut in range(7):
        expected = sum(float(outcome(list(order[:cut]))) for order in every) / len(every)
        assert float(found[:, cut].mean()) == pytest.approx(expected, abs=4 * float(found[:, cut].std()) / 1000**0.5 + 1e-6)


def test_the_order_of_equal_values_depends_on_the_seed_and_the_number_alone():
    weights = torch.arange(6.0)
    before, cuts = larger(torch.tensor([[[1.0, 1, 1, 1, 0, 0]], [[0.0, 0, 0, 0, 0, 1]]])), torch.arange(7)
    run = run_of(lambda first: weights[first].square().sum().sqrt())
    index = torch.tensor([4, 9])
    both = Along(before, index, 1)(cuts, run)
    assert torch.equal(Along(before[1:], index[1:], 1)(cuts, run), both[1:])
    assert not torch.equal(Along(before, index, 2)(cuts, run), both)
    assert not torch.equal(Along(before[:1].expand(2, 1, -1), index, 1)(cuts, run)[1:], both[:1])


def test_ends_of_groups_are_run_once_and_cuts_through_them_twice():
    before = larger(torch.tensor([[[1.0, 1, 1, 1, 0, 0]], [[5.0, 4, 3, 2, 1, 0]]]))
    seen = []

    def run(rows, cuts, inside):
        seen.extend(zip(rows.tolist(), cuts.tolist(), inside(torch.arange(len(rows))).long().tolist(), strict=True))
        return cuts.float()

    found = Along(before, torch.arange(2), 0)(torch.tensor([1, 3, 4]), run)
    assert [one[:2] for one in seen] == [(0, 1), (0, 1), (0, 3), (0, 3), (0, 4), (1, 1), (1, 3), (1, 4)]
    assert found.tolist() == [[[1, 3, 4]], [[1, 3, 4]]]
    (_, _, once), (_, _, again), (_, _, three), (_, _, other) = seen[:4]
    assert once != again
    # What comes last in one order comes first in the other.
    assert [sum(pair) for pair in zip(once, other, strict=True)] == [1, 1, 1, 1, 0, 0]
    assert [sum(pair) for pair in zip(again, three, strict=True)] == [1, 1, 1, 1, 0, 0]


def test_nothing_is_run_along_values_that_are_all_equal():
    before, seen = larger(torch.ones(1, 1, 6)), []

    def run(rows, cuts, inside):
        seen.extend(cuts.tolist())
        return inside(torch.arange(len(rows))).sum(1).float()

    assert Along(before, torch.tensor([0]), 0)(torch.tensor([0, 2, 6]), run).tolist() == [[[0, 0, 6]]]
    assert seen == [0, 6]


def test_two_empty_rows_are_alike_and_one_is_like_nothing():
    one, other = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [1.0, 2.0], [4.0, 3.0]])
    torch.testing.assert_close(cosine(one, other), torch.tensor([1.0, 0.0, 0.96]))
    even, mixed = torch.ones(2, 2), torch.tensor([[2.0, 2.0], [1.0, 2.0]])
    torch.testing.assert_close(correlation(even, mixed), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("count", [1, 3, 7, 20])
def test_membership_is_that_of_sorted_orders_with_ties(count):
    values = torch.randint(0, 5, (6, 20), generator=torch.Generator().manual_seed(count)).float()
    found = membership(values, count)
    for row, own in zip(values, found, strict=True):
        last = sorted(row.tolist(), reverse=True)[count - 1]
        above, tied = int((row > last).sum()), int((row == last).sum())
        expected = [1.0 if one > last else (count - above) / tied if one == last else 0.0 for one in row.tolist()]
        assert own.tolist() == pytest.approx(expected)
    assert found.sum(1).tolist() == pytest.approx([count] * 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ranks_are_the_same_bits_on_a_cpu_and_where_nothing_may_be_read_back(monkeypatch, dtype):
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(2, 3, 5000, generator=generator), torch.randint(-3, 3, (2, 3, 500), generator=generator) * -0.5, torch.ones(4, 7)]
    rows[0][..., 0], rows[0][..., -1] = torch.inf, -torch.inf
    rows = [one.to(dtype) for one in rows]
    found = [(larger(one), mean_ranks(one), last_of_top(one, 3)) for one in rows]
    monkeypatch.setattr(order, "_on_cpu", lambda _: False)
    for one, own in zip(rows, found, strict=True):
        for here, there in zip(own, (larger(one), mean_ranks(one), last_of_top(one, 3)), strict=True):
            assert torch.equal(here, there)
            assert here.dtype == there.dtype


def test_both_zeros_are_one_value():
    assert larger(torch.tensor([[-0.0, 0.0, 1.0]])).tolist() == [[1, 1, 0]]
