import math

import pytest
import torch

from assay.bounds.curvature import CURVATURE, drift, reach, steepest

Z = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
WEIGHT = torch.exp(-(Z**2) / 2) / math.sqrt(2 * math.pi) * (Z[1] - Z[0])
SHARES = (0.003, 0.1, 0.3173, 0.5, 0.6, 0.6827, 0.9, 0.997)


def one(value):
    return torch.tensor([value], dtype=torch.float64)


def slope(f):
    return float((WEIGHT * f * Z).sum())


def bend(f):
    return float((WEIGHT * f * (Z**2 - 1)).sum())


def test_the_constant_is_what_both_parts_of_the_second_hermite_function_come_to():
    assert pytest.approx(float((WEIGHT * (Z**2 - 1).clamp(min=0)).sum()), abs=1e-6) == CURVATURE
    assert pytest.approx(float((WEIGHT * (1 - Z**2).clamp(min=0)).sum()), abs=1e-6) == CURVATURE
    assert pytest.approx(0.4839, abs=1e-4) == CURVATURE


def test_a_slab_reaches_the_constant():
    """F of the slab |z| < 1 is Phi(x + 1) - Phi(x - 1), whose slope at a small x is -CURVATURE x to first order."""
    assert bend((Z.abs() < 1).double()) == pytest.approx(-CURVATURE, abs=1e-4)
    x = 1e-3
    moved = (math.exp(-((x + 1) ** 2) / 2) - math.exp(-((x - 1) ** 2) / 2)) / math.sqrt(2 * math.pi)
    p = one(math.erf(math.sqrt(0.5)))
    assert abs(moved) == pytest.approx(float(drift(p, p, one(x), 1.0)), rel=1e-3)


@pytest.mark.parametrize("p", SHARES)
def test_slabs_and_half_spaces_of_a_known_share_reach_the_local_bounds(p):
    share = one(p)
    t, s, h = (float(torch.special.ndtri(one(at))) for at in (1 - p / 2, (1 + p) / 2, 1 - p))
    slabs = max(abs(bend((Z.abs() > t).double())), abs(bend((Z.abs() < s).double())))
    assert float(drift(share, share, one(1e-6), 1.0)) / 1e-6 == pytest.approx(slabs, rel=1e-3)
    assert float(steepest(share, share, 1.0)) == pytest.approx(slope((h < Z).double()), abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_no_function_bends_or_rises_more(seed):
    generator = torch.Generator().manual_seed(seed)
    rough = torch.randn(400, generator=generator, dtype=torch.float64).cumsum(0).repeat_interleave(1000)
    f = torch.cat([rough, rough[-1:]]).sub(rough.mean()).mul(10.0 ** torch.randn(1, generator=generator).item()).sigmoid()
    p = (WEIGHT * f).sum()[None]
    assert abs(bend(f)) <= float(drift(p, p, one(1e-6), 1.0)) / 1e-6 * (1 + 1e-4)
    assert abs(slope(f)) <= float(steepest(p, p, 1.0)) * (1 + 1e-4)
    for x in (0.3, 1.0, 2.5):
        moved = torch.exp(-((Z - x) ** 2) / 2) / math.sqrt(2 * math.pi) * (Z[1] - Z[0]) * f
        assert abs(float((moved * (Z - x)).sum()) - slope(f)) <= float(drift(p, p, one(x), 1.0)) + 1e-6
        low, high = (float(end) for end in reach(p, p, one(x), 1.0))
        assert low - 1e-6 <= float(moved.sum()) <= high + 1e-6


def test_the_drift_grows_with_distance_and_ignorance_and_never_beyond_the_constant():
    low, high = one(0.02), one(0.08)
    eps = torch.linspace(0, 3, 31, dtype=torch.float64)[:, None]
    found = drift(low, high, eps, 0.5)
    assert found.shape == (31, 1)
    assert (found.diff(dim=0) > 0).all()
    assert (found <= CURVATURE * eps / 0.25 + 1e-12).all()
    assert (found <= drift(one(0.01), one(0.2), eps, 0.5)).all()
    torch.testing.assert_close(drift(one(0.0), one(1.0), eps, 0.5), CURVATURE * eps / 0.25)
