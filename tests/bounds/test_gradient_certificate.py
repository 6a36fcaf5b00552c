import math

import pytest
import torch
from scipy.stats import binom

import assay
from reference.nets import plain
from reference.smoothable import Bump, Probit, Sine

SIDE = 4
PIXELS = SIDE * SIDE
EPS = (0.0, 0.02, 0.1, 0.3)


def direction(size, seed=1):
    weight = torch.randn(PIXELS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return weight * size / weight.norm()


MODELS = {
    "probit": Probit(direction(3.0), bias=0.4),
    "half space": Probit(direction(3.0), spread=1e-3),
    "sine": Sine(direction(4.0)),
    "bump": Bump(1.0),
}
EVERY = pytest.mark.parametrize("name", MODELS)


def wrapped(net, **more):
    return assay.Classifier(net, output="probability", **{"chunk": 2048, **more})


def pixels(count, seed=3):
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def zeros(count):
    return torch.zeros(count, dtype=torch.int64)


def cosine(one, other):
    return (one / one.norm(dim=1, keepdim=True) * other / other.norm(dim=1, keepdim=True)).sum(1)


def worst(net, images, eps, sigma, steps=40, starts=6):
    """Least cosine between the exact smoothed gradients at the images and at what ascent finds within `eps`."""
    clean = net.smoothed_gradient(images.flatten(1).double(), sigma)
    best = torch.ones(len(images), dtype=torch.float64)
    for start in range(starts):
        way = torch.randn(clean.shape, generator=torch.Generator().manual_seed(start), dtype=torch.float64)
        for _ in range(steps):
            way = (way * eps / way.norm(dim=1, keepdim=True)).requires_grad_()
            found = cosine(clean, net.smoothed_gradient(images.flatten(1).double() + way, sigma))
            best = torch.minimum(best, found.detach())
            slope = torch.autograd.grad(found.sum(), way)[0]
            way = way.detach() - eps * slope / slope.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return best


@EVERY
def test_the_bounds_hold_where_the_truth_is_known(name):
    net, sigma, images = MODELS[name], 0.4, pixels(12)
    found = assay.certify(wrapped(net), images, assay.SmoothGrad(sigma, 200), EPS, 0.999, zeros(12))
    truth = net.smoothed_gradient(images.flatten(1).double(), sigma)
    assert (found.norm <= truth.norm(dim=1)).all()
    assert (found.norm > 0.3 * truth.norm(dim=1)).float().mean() > 0.7
    here = cosine(found.maps.flatten(1).double(), truth)
    assert (found.seen[0] <= here.nan_to_num(-1.0) + 1e-9).all()
    for row, eps in enumerate(EPS[1:], 1):
        assert (found.cosine[row] <= worst(net, images, eps, sigma) + 1e-9).all()
    assert (found.cosine[1] > 0.5).any()
    assert (found.seen[1] > 0.1).any()
    assert (found.overlap == 0).all()


@pytest.mark.parametrize("name", ["half space", "bump"])
@pytest.mark.parametrize("antithetic", [True, False])
def test_each_bound_misses_as_seldom_as_its_confidence_promises(name, antithetic):
    """The same image under many numbers, so that each has noise of its own; few copies, so that bounds are tight."""
    repeats, confidence, sigma, net = 300, 0.8, 0.4, MODELS[name]
    images = pixels(1, seed=8).expand(repeats, 1, SIDE, SIDE)
    found = assay.certify(wrapped(net), images, assay.SmoothGrad(sigma, 20, antithetic), 0.0, confidence, zeros(repeats), samples=60)
    truth = net.smoothed_gradient(images[:1].flatten(1).double(), sigma)
    here = cosine(found.maps.flatten(1).double(), truth)
    missed = (found.norm > truth.norm()) | (found.seen > here.nan_to_num(-1.0))
    assert missed.sum() <= binom.ppf(0.9999, repeats, 1 - confidence)
    assert found.norm.unique().numel() > 1


def test_the_norm_is_tight_with_many_copies():
    net, images = MODELS["probit"], pixels(4)
    found = assay.certify(wrapped(net), images, assay.SmoothGrad(0.4, 1000), 0.0, 0.99, zeros(4), samples=10_000)
    truth = net.smoothed_gradient(images.flatten(1).double(), 0.4).norm(dim=1)
    assert (found.norm > 0.9 * truth).all()
    assert found.seen.median() > 0.85
    assert (found.cosine == 1).all()


def test_it_speaks_of_the_map_that_the_explainer_gives():
    model = wrapped(plain())
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for antithetic in (True, False):
        explainer = assay.SmoothGrad(0.2, 12, antithetic)
        found = assay.certify(model, images, explainer, 0.1, samples=10, seed=5)
        torch.testing.assert_close(found.maps, explainer(model, images, seed=5))
        assert found.smoothing == explainer.smoothed


def test_all_radii_share_all_passes_and_one_radius_is_one_row_of_several():
    model, images, explainer = (
        wrapped(plain()),
        torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)),
        assay.SmoothGrad(0.5, 20),
    )
    model.predict(images)
    start = model.passes.copy()
    several = assay.certify(model, images, explainer, EPS, samples=40)
    assert model.passes - start == type(start)(3 + 3 * (20 + 40), 3 * 20)
    assert several.samples == 60
    for row, eps in enumerate(EPS):
        single = assay.certify(model, images, explainer, eps, samples=40)
        for part in ("cosine", "seen", "overlap", "needed"):
            torch.testing.assert_close(getattr(single, part), getattr(several, part)[row])
        assert single.cosine.shape == (3,)
        assert single.eps == eps


def test_neither_chunks_nor_order_nor_company_change_it():
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = assay.certify(wrapped(plain()), images, assay.SmoothGrad(0.5, 20), 0.05, samples=100)
    part = assay.certify(
        wrapped(plain(), chunk=7), images[[2, 0]], assay.SmoothGrad(0.5, 20), 0.05, samples=100, index=torch.tensor([2, 0])
    )
    assert (whole.norm > 0).any()
    for name in ("maps", "norm", "radius", "cosine"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[[2, 0]], rtol=1e-3, atol=1e-5)


def test_the_radius_is_where_the_bound_ends_and_what_is_needed_suffices():
    net, images = MODELS["sine"], pixels(12)
    call = (wrapped(net), images, assay.SmoothGrad(0.4, 100))
    found = assay.certify(*call, 0.0, 0.99, zeros(12), samples=400)
    some = found.radius > 0
    assert some.any()
    for one in some.nonzero().flatten()[:2].tolist():
        near, far = assay.certify(*call, [float(found.radius[one]) * by for by in (0.999, 1.001)], 0.99, zeros(12), samples=400).cosine[
            :, one
        ]
        assert 0 < near < 0.1
        assert far == -1
    eps = float(found.radius[some].median()) / 2
    again = assay.certify(*call, eps, 0.99, zeros(12), samples=400)
    assert (again.needed[again.certified] < 2 * again.samples).all()
    assert again.needed.isfinite().any()
    assert (again.needed > 100).all()


def test_a_network_without_slope_has_no_certificate_and_no_error():
    found = assay.certify(
        wrapped(Probit(direction(0.0) * 0)), pixels(2), assay.SmoothGrad(0.3, 10), [0.0, 0.1], targets=zeros(2), samples=20
    )
    assert (found.norm == 0).all()
    assert (found.cosine == -1).all()
    assert (found.radius == 0).all()
    assert found.needed.isinf().all()
    assert "nothing is certified" in found.sentence


def test_its_sentence_says_what_holds():
    found = assay.certify(wrapped(MODELS["probit"]), pixels(3), "SmoothGrad(sigma=0.4, samples=100)", [0.3, 0.01], targets=zeros(3))
    assert "within L2 distance 0.01, at 0.99 confidence" in found.sentence
    assert "3 of 3 images are certified" in found.sentence
    assert math.isclose(float(found.sentence.rsplit(" ", 1)[1].rstrip(".")), float(found.cosine[1].median()), abs_tol=6e-4)
