"""Every bound against a slow twin written from its statement, and against the function that reaches it, so that no factor can slip in."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest

import assay
from assay.bounds import concentration, curvature
from assay.bounds.gradient_certificate import _aligned
from reference import certificates as twin
from reference.nets import linear, plain
from reference.smoothable import Bump, Probit, Sine

SIDE = 4
PIXELS = SIDE * SIDE
NETS = {"probit": (3.0, Probit), "sine": (4.0, Sine), "bump": (None, Bump)}


def one(value):
    return torch.tensor([value], dtype=torch.float64)


def outcomes(bound, count, alpha):
    """Bounds (count + 1,) of a coin thrown `count` times, by heads."""
    heads = torch.arange(count + 1, dtype=torch.float64)
    if bound is concentration.bet_lower:
        throws = (torch.arange(count) < heads[:, None]).double()
        return bound(throws, torch.full_like(heads, 1e12), alpha)
    return bound(heads / count, count, alpha)


@pytest.mark.parametrize("bound", [concentration.mean_lower, concentration.bet_lower])
@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize("alpha", [0.0025, 0.05])
def test_the_chance_of_error_by_enumeration_reaches_alpha_and_is_never_above(bound, count, alpha):
    """At a bias just below the bound of all heads, only all heads mislead: bias ** count, which is alpha."""
    found = outcomes(bound, count, alpha).numpy()
    assert found[-1] == pytest.approx(alpha ** (1 / count), rel=1e-9)
    heads = np.arange(count + 1)
    biases = [*(found[found > 0] * (1 - 1e-9)), *np.linspace(0.01, 0.99, 99)]
    missed = [binom.pmf(heads, count, bias)[found > bias].sum() for bias in biases]
    assert max(missed) == pytest.approx(alpha, rel=1e-6)


def test_chernoff_and_betting_are_their_twins():
    generator = np.random.default_rng(0)
    for _ in range(30):
        mean, count, alpha = generator.uniform(), int(generator.integers(1, 2000)), 10 ** generator.uniform(-6, -0.5)
        assert float(concentration.mean_lower(one(mean), count, alpha)) == pytest.approx(twin.chernoff_lower(mean, count, alpha), abs=1e-9)
        assert float(concentration.mean_upper(one(mean), count, alpha)) == pytest.approx(twin.chernoff_upper(mean, count, alpha), abs=1e-9)
        values, stake = generator.beta(2, 3, size=50), 10 ** generator.uniform(-1, 1)
        found = concentration.bet_lower(torch.from_numpy(values)[None], one(stake), alpha)
        assert float(found) == pytest.approx(twin.bet_lower(values, stake, alpha), abs=1e-9)


def test_what_is_above_a_level_is_what_has_its_lower_bound_there():
    means = torch.arange(201, dtype=torch.float64) / 200
    for level in (0.5, 0.7, 0.99, 1.0):
        assert torch.equal(concentration.above(means, one(level), 200, 1e-5), concentration.mean_lower(means, 200, 1e-5) > level)


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.02, 0.08), (0.3, 0.6), (0.9, 0.95), (0.997, 0.999)])
def test_reach_slope_and_drift_are_their_twins(low, high):
    for eps in (0.01, 0.2, 1.0):
        assert [float(end) for end in curvature.reach(one(low), one(high), one(eps), 0.5)] == pytest.approx(twin.reach(low, high, eps, 0.5))
        exact = twin.drift(low, high, eps, 0.5)
        assert exact * (1 - 1e-3) <= float(curvature.drift(one(low), one(high), one(eps), 0.5)) <= exact * 1.02
    assert float(curvature.steepest(one(low), one(high), 0.5)) == pytest.approx(twin.steepest(low, high, 0.5), rel=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_half_spaces_reach_what_p_and_its_slope_can_be(share):
    """F = Phi(a + x / sigma): moved by eps up and down it has both ends, and its slope is the steepest."""
    sigma, eps, a = 0.3, 0.2, twin.QUANTILE(share)
    low, high = curvature.reach(one(share), one(share), one(eps), sigma)
    assert float(low) == pytest.approx(twin.PHI(a - eps / sigma))
    assert float(high) == pytest.approx(twin.PHI(a + eps / sigma))
    slope = (twin.PHI(a + 1e-6) - twin.PHI(a - 1e-6)) / 2e-6 / sigma
    assert float(curvature.steepest(one(share), one(share), sigma)) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(("along", "longest", "moved"), [(0.5, 0.9, 0.3), (0.5, 0.5, 0.2), (0.2, 1.0, 0.199), (1.0, 3.0, 0.0)])
def test_the_least_cosine_to_the_map_is_reached_in_the_plane(along, longest, moved):
    found = float(_aligned(one(along), one(longest), one(moved)))
    assert found <= twin.least_cosine(along, longest, moved) + 1e-12
    assert found == pytest.approx(twin.least_cosine(along, longest, moved), abs=2e-3)


ASKED = []


class Recorded(torch.nn.Module):
    """A network whose copies keep what they are asked, in `ASKED`."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        ASKED.append(x.detach().clone())
        return self.net(x)


def direction(size):
    weight = torch.randn(PIXELS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return weight * size / weight.norm()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("antithetic", [True, False])
def test_the_gradient_certificate_is_its_twin(name, antithetic):
    size, make = NETS[name]
    net = Recorded(make(1.0 if size is None else direction(size)))
    count, samples, sigma, many = 100, 300, 0.4, 3
    images = torch.rand(many, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    model = assay.Classifier(net, output="probability", chunk=4096)
    ASKED.clear()
    eps, confidence = (0.0, 0.01, 0.05), 0.97
    smoothing = assay.SmoothGrad(sigma, count, antithetic)
    found = assay.certify(model, images, smoothing, eps, confidence, torch.zeros(many, dtype=torch.int64), samples)
    asked = torch.cat(ASKED)[-many * (count + samples) :]  # Before these the model may be tried on an image of its own.
    values = net.net(asked).softmax(1)[:, 0].double()
    copies, draws = values[: many * count].view(many, count).numpy(), values[many * count :].view(many, -1, 2).numpy()
    for image in range(many):
        due = twin.gradient_certificate(copies[image], draws[image], sigma, eps, confidence, antithetic)
        assert float(found.norm[image]) == pytest.approx(due["norm"], rel=1e-4)
        for row, (moved, cosine, seen) in enumerate(due["rows"]):
            # The drift of the certificate is an upper sum, at most 2 % above the twin's integral.
            norm, most = due["norm"], 1.02 * moved
            if most < norm:
                assert math.sqrt(1 - (most / norm) ** 2) - 1e-4 <= float(found.cosine[row, image]) <= cosine + 1e-4
                assert twin.least_cosine(norm, due["longest"], most) - 3e-3 <= float(found.seen[row, image]) <= seen + 1e-4
            elif moved >= norm:
                assert float(found.cosine[row, image]) == float(found.seen[row, image]) == -1
    assert (found.seen[1] > 0).any()


def test_the_draws_are_pairs_of_rayleigh_length_along_the_map_and_normal_across_it():
    net = Recorded(Probit(direction(3.0)))
    model = assay.Classifier(net, output="probability", chunk=4096)
    images, sigma, count = torch.full((1, 1, SIDE, SIDE), 0.5), 0.4, 4
    ASKED.clear()
    found = assay.certify(model, images, assay.SmoothGrad(sigma, count), 0.0, 0.9, torch.zeros(1, dtype=torch.int64), 3000)
    steps = ((torch.cat(ASKED)[-3000:] - images) / sigma).flatten(1).double().view(-1, 2, PIXELS)
    way = found.maps.flatten().double()
    way = way / way.norm()
    torch.testing.assert_close(steps[:, 0], -steps[:, 1], rtol=0, atol=1e-5)
    along = steps[:, 0] @ way
    across = steps[:, 0] - along[:, None] * way
    assert (along > 0).all()
    assert kstest(along.numpy(), "rayleigh").pvalue > 0.01
    other = torch.linalg.qr(torch.cat([way[:, None], torch.eye(PIXELS, dtype=torch.float64)[:, 1:]], 1)).Q[:, 1:]
    assert kstest((across @ other).flatten().numpy(), "norm").pvalue > 0.01


class Pattern(torch.nn.Module):
    """f is 0 or 1 by `inside` of z = (x_0 - 1/2) / sigma; the slope that it gives has a fixed direction, at `cosine` to the true one."""

    def __init__(self, inside, sigma, cosine=1.0):
        super().__init__()
        self.inside, self.sigma, self.way = inside, sigma, torch.tensor([cosine, math.sqrt(1 - cosine**2)])

    def forward(self, x):
        flat = x.flatten(1)
        score = 40 * self.inside((flat[:, 0].detach() - 0.5) / self.sigma).float() - 20
        score = score + (flat - flat.detach())[:, : len(self.way)] @ self.way[: flat.shape[1]]
        return torch.stack([score, -score], 1)


@pytest.mark.parametrize("error", [0.0049, 0.0199])
def test_gradients_are_missed_as_seldom_as_promised_by_the_pattern_that_misleads_most(error):
    """h = 1/2 where u is longer than t and -1/2 elsewhere: `error` is the chance of 20 draws of 1/2. The repeats tell 99 % from 98 %."""
    repeats, draws, sigma, confidence = 5000, 20, 0.3, 0.99
    share = error ** (1 / draws)
    t = math.sqrt(-2 * math.log(share))
    net = Pattern(lambda z: (z > t) | ((z < 0) & (z > -t)), sigma)
    model = assay.Classifier(net, output="probability", chunk=1 << 18)
    images = torch.full((repeats, 1, 1, 1), 0.5)
    found = assay.certify(model, images, assay.SmoothGrad(sigma, 2), 0.0, confidence, torch.zeros(repeats, dtype=torch.int64), 2 * draws)
    truth = math.sqrt(2 / math.pi) * (share - 0.5) / sigma
    missed = int((found.norm > truth).sum())
    assert missed <= binom.ppf(0.9999, repeats, 1 - confidence)
    # Half of the budget is the norm's, and this pattern spends all of it.
    if error < 0.005:
        assert missed >= binom.ppf(0.0001, repeats, error)


@pytest.mark.parametrize(("antithetic", "eps"), [(False, 0.0), (True, 0.01)])
def test_the_seen_bound_comes_close_to_the_cosine_of_a_half_space_and_never_passes_it(antithetic, eps):
    """A half space's gradient is as long as Bessel's and Neyman and Pearson's bounds allow, here at a cosine of 0.8 to the seen map."""
    sigma = 0.3
    model = assay.Classifier(Pattern(lambda z: z > 0, sigma, cosine=0.8), output="probability", chunk=1 << 16)
    images = torch.full((1, 1, 1, 2), 0.5)
    smoothing = assay.SmoothGrad(sigma, 10_000, antithetic)
    found = assay.certify(model, images, smoothing, eps, 0.99, torch.zeros(1, dtype=torch.int64), 50_000)
    truth = 0.8 * 1 / (math.sqrt(2 * math.pi) * sigma)
    assert 0.96 * truth < float(found.norm) <= truth
    worst = twin.least_cosine(truth, truth / 0.8, twin.drift(0.5, 0.5, eps, sigma) if eps else 0.0)
    assert 0.93 * worst < float(found.seen) <= worst


def votes(samples, sigma=0.3, fraction=0.25, antithetic=False):
    return assay.Smoothed(assay.Sparsified(assay.Gradient(), fraction), assay.Gaussian(sigma), samples, antithetic)


def test_the_certificate_of_votes_is_its_twin():
    model = assay.Classifier(plain(channels=1, size=6), chunk=4096)
    images = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    eps = (0.0, 0.02, 0.08, 0.2)
    for antithetic in (False, True):
        smoothing = votes(1000, antithetic=antithetic)
        found = assay.certify(model, images, smoothing, eps, 0.9)
        assert found.pixels.unique().tolist() == [-1, 0, 1]
        for image in range(3):
            seen = found.maps[image].flatten().double().numpy()
            for row, radius in enumerate(eps):
                due = twin.votes_certificate(seen, 9, 500 if antithetic else 1000, 0.3, radius, 0.9)
                for name in ("overlap", "cosine", "seen"):
                    assert float(getattr(found, name)[row, image]) == pytest.approx(due[name], abs=1e-6), name
                assert float(found.norm[image]) == pytest.approx(due["norm"], abs=1e-6)
                assert found.pixels[row, image].flatten().tolist() == due["pixels"]


@pytest.mark.parametrize("antithetic", [True, False])
def test_marks_that_never_change_end_where_all_draws_alike_could_mislead(antithetic):
    """Pairs of opposite noise count once: an even function gives the same mark to both."""
    top, count, sigma, alpha = 4, 400, 0.3, 0.05 / (2 * PIXELS)
    model = assay.Classifier(linear(torch.arange(1.0, PIXELS + 1)), chunk=4096)
    images = torch.full((2, 1, SIDE, SIDE), 0.5)
    end = sigma * float(twin.QUANTILE(alpha ** (1 / (count // 2 if antithetic else count))))
    smoothing = votes(count, sigma, antithetic=antithetic)
    found = assay.certify(model, images, smoothing, (0.999 * end, 1.001 * end), 0.9, torch.zeros(2, dtype=torch.int64))
    assert found.overlap.tolist() == [[1.0] * 2, [0.0] * 2]
    marked = torch.arange(PIXELS) >= PIXELS - top
    assert torch.equal(found.pixels[0].flatten(1).bool() & (found.pixels[0].flatten(1) > 0), marked.expand(2, -1))
    assert (found.pixels[0] != 0).all()
    assert (found.pixels[1] == 0).all()


class Duel(torch.nn.Module):
    """Of three pixels the first is marked where the second is above 1/2, else the third."""

    def forward(self, x):
        flat = x.flatten(1)
        first = (flat[:, 1].detach() > 0.5).float()
        score = flat[:, 0] * first + flat[:, 2] * (1 - first)
        return torch.stack([score, torch.zeros_like(score)], 1)


def test_overlap_and_pixels_end_just_before_the_distance_at_which_the_duel_is_lost():
    """Moving the second pixel by its lead swaps the two marks: the worst that eps can do, and the certificate comes within 6 % of it."""
    sigma, lead = 0.3, 0.15
    images = torch.tensor([0.0, 0.5 + lead, 0.0]).view(1, 1, 1, 3)
    found = assay.certify(
        assay.Classifier(Duel(), chunk=1 << 16),
        images,
        votes(100_000, sigma, fraction=1 / 3),
        (0.94 * lead, lead),
        0.99,
        torch.zeros(1, dtype=torch.int64),
    )
    assert found.overlap.flatten().tolist() == [1.0, 0.0]
    assert found.pixels[:, 0, 0].tolist() == [[1, -1, -1], [0, -1, 0]]
    assert 0.94 * lead < float(found.radius)
    there = torch.special.ndtr(torch.tensor([-0.5, 0.5]) * lead / sigma)
    apart = math.sqrt(2) * float(there[1] - there[0])
    # The duel on the fence reaches the total variation: both marks change by it, one up, one down.
    reached = math.sqrt(1 - (apart / float(found.norm)) ** 2)
    assert float(found.cosine[1]) == pytest.approx(reached, rel=1e-6)


def test_one_radius_gives_pixels_without_the_axis_of_radii_and_gradients_have_none():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = assay.Classifier(plain(), output="probability")
    several, single = (assay.certify(model, images, votes(200), eps, 0.9) for eps in ((0.01, 0.05), 0.05))
    assert several.pixels.shape == (2, 2, 8, 8)
    assert single.pixels.shape == (2, 8, 8)
    assert single.pixels.dtype == several.pixels.dtype == torch.int8
    assert torch.equal(single.pixels, several.pixels[1])
    assert (several.pixels[0].abs() >= several.pixels[1].abs()).all()
    shares = several.shares
    assert list(shares) == ["top", "out", "open"]
    torch.testing.assert_close(shares["top"] + shares["out"] + shares["open"], torch.ones(2, 2, dtype=torch.float64))
    torch.testing.assert_close(shares["out"], (several.pixels == -1).double().mean((2, 3)))
    assert "stay in the top and" in several.sentence
    slopes = assay.certify(model, images, assay.SmoothGrad(0.1, 4), 0.05, samples=4)
    assert slopes.pixels.shape == (2, 8, 8)
    assert not slopes.pixels.any()
    assert "stay in the top" not in slopes.sentence


def test_maps_of_different_images_are_shown_beside_the_certified_cosine():
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = assay.certify(assay.Classifier(plain()), images, votes(3000), 0.0, 0.9)
    flat = found.maps.flatten(1).double()
    pairs = [float(torch.cosine_similarity(flat[i], flat[j], 0)) for i in range(4) for j in range(i)]
    assert found.unrelated == pytest.approx(sum(pairs) / len(pairs))
    assert f", {found.unrelated:.3f} in mean between the seen ones of different images, stays above" in found.sentence
    assert math.isnan(assay.certify(assay.Classifier(plain()), images[:1], votes(100), 0.0, 0.9).unrelated)
