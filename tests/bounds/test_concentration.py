import math

import pytest
import torch
from scipy.stats import beta, binom

from assay.bounds.concentration import bet_lower, growth, mean_lower, mean_upper

REPEATS, ALPHA = 1000, 0.1
MISSES = int(binom.ppf(0.9999, REPEATS, ALPHA))
"""More misses than these have a chance of 1 in 10 000 if the bound is right."""


def stake(value):
    return torch.full((REPEATS,), value, dtype=torch.float64)


def drawn(mean, count, seed=0):
    """Draws (REPEATS, count) with a two-point law: the hardest for a bound in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(REPEATS, count, generator=generator, dtype=torch.float64) < mean).double()


@pytest.mark.parametrize("mean", [0.01, 0.3, 0.97])
@pytest.mark.parametrize("count", [10, 300])
def test_bounds_miss_as_seldom_as_they_promise(mean, count):
    values = drawn(mean, count)
    average = values.mean(1)
    assert (mean_lower(average, count, ALPHA) > mean).sum() <= MISSES
    assert (mean_upper(average, count, ALPHA) < mean).sum() <= MISSES
    for held in (0.1, 1.0, 1e9):
        assert (bet_lower(values, stake(held), ALPHA) > mean).sum() <= MISSES


def test_a_bound_without_its_margin_misses_too_often():
    """What the simulation above must be able to see."""
    assert (drawn(0.3, 300).mean(1) > 0.3).sum() > MISSES
    assert (bet_lower(drawn(0.3, 300), stake(0.1), 0.9) > 0.3).sum() > MISSES


def test_chernoffs_bound_is_close_to_the_exact_binomial_one():
    average = torch.tensor([0.0, 0.05, 0.5, 0.9, 1.0], dtype=torch.float64)
    low, high = mean_lower(average, 200, 0.01), mean_upper(average, 200, 0.01)
    hits = (200 * average).numpy()
    exact = torch.from_numpy(beta.ppf(0.01, hits, 201 - hits)).nan_to_num(0.0)
    assert (low <= exact + 1e-12).all()
    assert (exact - low < 0.03).all()
    torch.testing.assert_close(high, 1 - mean_lower(1 - average, 200, 0.01))
    assert low[-1] == pytest.approx(0.01 ** (1 / 200))
    assert low[0] == 0
    assert high[-1] == 1


def test_betting_gains_from_a_small_variance():
    generator = torch.Generator().manual_seed(0)
    values = 0.5 + 0.01 * torch.randn(REPEATS, 500, generator=generator, dtype=torch.float64).clamp(-5, 5)
    low = bet_lower(values, stake(math.sqrt(2 * math.log(1 / ALPHA) / (500 * 0.01**2))), ALPHA)
    assert (low > 0.5).sum() <= MISSES
    assert (0.5 - low).mean() < 0.003
    assert (0.5 - mean_lower(values.mean(1), 500, ALPHA)).mean() > 0.04


def test_the_bound_falls_below_its_own_mean_and_rises_with_more_draws():
    values = drawn(0.6, 400)
    whole, part = bet_lower(values, stake(0.5), ALPHA), bet_lower(values[:, :100], stake(0.5), ALPHA)
    assert (whole < values.mean(1)).all()
    assert whole.mean() > part.mean()


def test_growth_tells_how_many_draws_rule_a_mean_out():
    values, mean = drawn(0.6, 400), 0.45
    speed = growth(values, torch.full((REPEATS,), mean, dtype=torch.float64))
    needed = (math.log(1 / ALPHA) / speed[0]).ceil()
    assert speed.min() > 0
    assert bet_lower(values[:1].repeat(1, 50)[:, : int(2 * needed)], stake(0.6)[:1], ALPHA) > mean
    assert (growth(values, torch.full((REPEATS,), 0.95, dtype=torch.float64)) == 0).all()
