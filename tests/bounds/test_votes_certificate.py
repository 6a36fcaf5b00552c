import pytest
import torch
from scipy.stats import binom

import assay
from assay.explain.sparse import Sparsified
from reference.nets import linear, plain

SIDE = 6
PIXELS = SIDE * SIDE


def pixels(count, seed=0):
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def zeros(count):
    return torch.zeros(count, dtype=torch.int64)


def votes(sigma=0.3, samples=400, antithetic=False, **more):
    return assay.Smoothed(Sparsified(assay.Gradient(), **{"fraction": 0.25, **more}), assay.Gaussian(sigma), samples, antithetic)


@pytest.mark.parametrize("full", [None, 0.1])
def test_marks_are_the_top_pixels_by_magnitude(full):
    weight = torch.linspace(-1, 1.3, PIXELS)
    found = Sparsified(assay.Gradient(), 0.25, full)(assay.Classifier(linear(weight)), pixels(2), zeros(2)).flatten(1)
    size = weight.abs()
    order = size.sort(descending=True).values
    top = size >= order[8]
    expected = top.float() if full is None else torch.where(top, size / order[3], 0.0).clamp(max=1)
    torch.testing.assert_close(found, expected.expand(2, -1))


def test_a_map_of_zeros_has_no_marks():
    assert (Sparsified(assay.Gradient())(assay.Classifier(linear(torch.zeros(PIXELS))), pixels(2), zeros(2)) == 0).all()


def test_of_pixels_that_tie_for_the_last_places_those_are_marked_that_come_first():
    weight = torch.ones(PIXELS)
    weight[20:24] = 2.0
    found = Sparsified(assay.Gradient(), 0.25, 0.1)(assay.Classifier(linear(weight)), pixels(1), zeros(1)).flatten()
    assert found.nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 20, 21, 22, 23]
    assert found[[0, 20]].tolist() == [0.5, 1.0]


def test_channels_are_one_pixel():
    net = plain()
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = Sparsified(assay.Gradient(), 0.1)(assay.Classifier(net), images)
    slopes = assay.Gradient()(assay.Classifier(net), images).abs().sum(1).flatten(1)
    assert found.shape == (2, 1, 8, 8)
    assert torch.equal(found.flatten(1).bool(), slopes >= slopes.topk(6).values[:, -1:])


class Duel(torch.nn.Module):
    """The slope is at the first pixel where the second is above 1/2, else at the third: marks that are known exactly."""

    def forward(self, x):
        flat = x.flatten(1)
        first = (flat[:, 1].detach() > 0.5).float()
        score = flat[:, 0] * first + flat[:, 2] * (1 - first)
        return torch.stack([score, torch.zeros_like(score)], 1)


def exact_duel(images, sigma):
    """F (N, 2) of the first and third pixel."""
    share = torch.special.ndtr((images.flatten(1)[:, 1].double() - 0.5) / sigma)
    return torch.stack([share, 1 - share], 1)


DUEL = assay.Smoothed(Sparsified(assay.Gradient(), 1 / PIXELS), assay.Gaussian(0.3), 400, antithetic=False)


def test_the_bounds_hold_where_the_marks_are_known():
    """Moving the second pixel by eps against the leader is the worst change; the winner must stay where it is certified to."""
    images = pixels(60)
    eps = (0.0, 0.03, 0.1, 0.3)
    found = assay.certify(assay.Classifier(Duel(), chunk=2048), images, DUEL, eps, 0.999, zeros(60))
    here = exact_duel(images, 0.3)
    seen = found.maps.flatten(1)[:, [0, 2]].double()
    assert (found.norm <= here.norm(dim=1)).all()
    for row, radius in enumerate(eps):
        lead = (images.flatten(1)[:, 1] > 0.5).float() * 2 - 1
        moved = images.clone()
        moved.view(60, -1)[:, 1] -= lead * radius
        there = exact_duel(moved, 0.3)
        kept = (there.argmax(1) == seen.argmax(1)).double()
        assert (found.overlap[row] <= kept).all()
        assert (found.cosine[row] <= torch.nn.functional.cosine_similarity(here, there) + 1e-9).all()
        assert (found.seen[row] <= torch.nn.functional.cosine_similarity(seen, there) + 1e-9).all()
    assert 0.2 < found.overlap[1].mean() < 1
    assert (found.overlap.diff(dim=0) <= 0).all()
    assert (found.cosine[1] > 0.7).all()


@pytest.mark.parametrize("antithetic", [True, False])
def test_it_misses_as_seldom_as_its_confidence_promises(antithetic):
    """At eps 0 and near a tie: the certified leader must be the true one."""
    repeats, confidence = 300, 0.6
    images = torch.zeros(1, 1, SIDE, SIDE)
    images[0, 0, 0, 1] = 0.49
    smoothing = assay.Smoothed(Sparsified(assay.Gradient(), 1 / PIXELS), assay.Gaussian(0.3), 40, antithetic)
    found = assay.certify(
        assay.Classifier(Duel(), chunk=2048), images.expand(repeats, 1, SIDE, SIDE), smoothing, 0.0, confidence, zeros(repeats)
    )
    here = exact_duel(images, 0.3)
    seen = found.maps.flatten(1)[:, [0, 2]].double()
    wrong = (found.overlap > 0) & (seen.argmax(1) != here.argmax(1))
    missed = wrong | (found.norm > here.norm()) | (found.seen > torch.nn.functional.cosine_similarity(seen, here))
    assert missed.sum() <= binom.ppf(0.9999, repeats, 1 - confidence)


def test_the_count_is_that_of_every_way_to_exchange_pixels():
    """Against a slow twin: the largest i such that no set of K - i + 1 pixels outside can all pass as many of the top."""
    smoothing = votes(samples=300)
    found = assay.certify(assay.Classifier(plain(channels=1, size=SIDE), chunk=2048), pixels(4), smoothing, 0.02, 0.9)
    from assay.bounds.concentration import mean_lower, mean_upper

    top = 9
    for row, seen in enumerate(found.maps.flatten(1).double()):
        chosen = seen.argsort(descending=True, stable=True)
        alpha = 0.1 / 2 / (2 * PIXELS)
        low, high = torch.special.ndtri(mean_lower(seen, 300, alpha)), torch.special.ndtri(mean_upper(seen, 300, alpha))
        low, high = torch.special.ndtr(low - 0.02 / 0.3), torch.special.ndtr(high + 0.02 / 0.3)
        inside, outside = low[chosen[:top]], high[chosen[top:]]
        kept = 0
        for lost in range(top, 0, -1):
            # An attacker who swaps `lost` pixels takes the weakest inside and the strongest outside.
            weakest, strongest = inside.sort().values[:lost], outside.sort(descending=True).values[:lost]
            if strongest.min() >= weakest.max():
                kept = top - lost
                break
        else:
            kept = top
        assert float(found.overlap[row]) == pytest.approx(kept / top)


def test_relaxed_marks_and_pairs_and_any_explainer_are_certified():
    model = assay.Classifier(plain(channels=1, size=SIDE), chunk=2048)
    for smoothing in (
        votes(full=0.1),
        votes(antithetic=True),
        assay.Smoothed(Sparsified(assay.GradCAM(), 0.3), assay.Gaussian(0.2), 200, antithetic=False),
        assay.Smoothed(Sparsified(assay.Lime(10, assay.Grid(2, 2)), 0.25), assay.Gaussian(0.2), 100, antithetic=False),
    ):
        found = assay.certify(model, pixels(2), smoothing, [0.0, 0.01], 0.9)
        torch.testing.assert_close(found.maps, smoothing(model, pixels(2)))
        assert (found.cosine[0] >= found.cosine[1]).all()
        assert (found.cosine >= 0).all()
        assert found.samples == smoothing.count


def test_the_radius_is_where_the_bounds_end_and_needed_where_they_begin():
    call = (assay.Classifier(Duel(), chunk=2048), pixels(8))
    found = assay.certify(*call, DUEL, 0.02, 0.99, zeros(8))
    ends = torch.stack([found.radius * 0.999, found.radius * 1.001])
    for one in range(3):
        near, far = assay.certify(*call, DUEL, ends[:, one].tolist(), 0.99, zeros(8)).certified[:, one]
        assert near
        assert not far
    assert (found.needed[found.certified] <= found.samples).all()
    few = assay.Smoothed(DUEL.explainer, DUEL.kernel, 10, antithetic=False)
    short = assay.certify(*call, few, 0.02, 0.99, zeros(8))
    assert (short.needed[~short.certified] > 10).all()


def test_passes_are_those_of_the_map():
    model = assay.Classifier(plain(channels=1, size=SIDE), chunk=2048)
    model.predict(pixels(3))
    model.passes.forward = 0
    certificate = assay.certify(model, pixels(3), votes(samples=50), [0.0, 0.1, 0.2])
    assert model.passes.forward == 3 + 3 * 50
    assert model.passes.backward == 3 * 50
    assert certificate.eps == (0.0, 0.1, 0.2)


def test_its_sentence_tells_what_unrelated_maps_share():
    weight = torch.linspace(-1, 1.3, PIXELS)
    found = assay.certify(assay.Classifier(linear(weight)), pixels(2), votes(), 0.01, targets=zeros(2))
    assert (found.overlap > 0.25).all()
    assert "of the top pixels stay, where unrelated maps share 25.0%" in found.sentence
