"""No attack may beat a certificate: the attacks of this project try, judged by maps of many copies whose errors are allowed for."""

import math

import pytest
import torch

import assay
from reference.nets import plain

SIDE, SIGMA, COUNT = 6, 0.5, 3


@pytest.fixture(scope="module")
def images():
    return torch.rand(COUNT, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def model():
    return assay.Classifier(plain(torch.nn.GELU, channels=1, size=SIDE, gain=2.0), mean=0.5, output="probability", chunk=1024)


def cosines(model, clean, moved, targets, groups=10, samples=300):
    """Cosines between exact smoothed gradients, from products of independent maps only, and their standard errors."""
    explainer = assay.SmoothGrad(SIGMA, samples)
    one, other = (
        torch.stack([explainer(model, pixels, targets, seed=1000 + seed) for seed in range(groups)], 1).flatten(2).double()
        for pixels in (clean, moved)
    )

    def estimate(left_out):
        kept = [group for group in range(groups) if group != left_out]
        products = ((a[:, kept] @ b[:, kept].mT) for a, b in ((one, other), (one, one), (other, other)))
        cross, first, second = ((p.sum((1, 2)) - p.diagonal(dim1=1, dim2=2).sum(1)) for p in products)
        return cross / (first * second).sqrt()

    parts = torch.stack([estimate(group) for group in range(groups)])
    return estimate(None), ((groups - 1) / groups * (parts - parts.mean(0)).square().sum(0)).sqrt()


def attacked(model, images, eps, goal):
    attack = assay.MapAttack(eps, "l2", steps=12, goal=goal, restarts=3, samples=32, judge_every=6, keep_class=False)
    return attack(model, assay.SmoothGrad(SIGMA, 200), images).images


def test_no_attack_beats_the_bound_on_the_cosine(model, images):
    targets = model.predict(images)
    radius = assay.certify(model, images, assay.SmoothGrad(SIGMA, 400), 0.0, samples=2000).radius
    assert (radius > 0.02).all()
    shares = (0.5, 0.95)
    for share in shares:
        eps = float(radius.min()) * share
        bound = assay.certify(model, images, assay.SmoothGrad(SIGMA, 400), eps, 0.999, samples=2000).cosine
        assert (bound > 0).any()
        for goal in (assay.MaximiseDistance(assay.Cosine()), assay.PushOutTopK(0.2)):
            found, error = cosines(model, images, attacked(model, images, eps, goal), targets)
            assert (found + 4 * error >= bound).all()
            assert (error < 0.02).all()


def test_the_attack_would_beat_a_bound_that_claims_too_much(model, images):
    """What the test above must be able to see: the bound of a small ball does not hold in a large one."""
    targets, smoothing = model.predict(images), assay.SmoothGrad(SIGMA, 400)
    radius = assay.certify(model, images, smoothing, 0.0, samples=2000).radius.min()
    bound = assay.certify(model, images, smoothing, float(radius) / 20, 0.999, samples=2000).cosine
    moved = attacked(model, images, 20 * float(radius), assay.MaximiseDistance(assay.Cosine()))
    found, error = cosines(model, images, moved, targets)
    assert (found + 4 * error < bound).any()


def test_no_attack_beats_the_bound_on_the_top_pixels(model, images):
    smoothing = assay.Smoothed(assay.Sparsified(assay.Gradient(), 0.25), assay.Gaussian(SIGMA), 3000, antithetic=False)
    targets, eps, top, many = model.predict(images), 0.02, 9, 4000
    found = assay.certify(model, images, smoothing, eps, 0.999)
    assert (found.overlap > 0.2).all()
    judge = assay.Smoothed(smoothing.explainer, smoothing.kernel, many, antithetic=False)
    fast = assay.Smoothed(smoothing.explainer, smoothing.kernel, 100)
    blind = assay.BlackBoxMapAttack(eps, "l2", steps=20, goal=assay.PushOutTopK(0.25), keep_class=False)
    slack = 4 * math.sqrt(2 * 0.25 / many)
    chosen = found.maps.flatten(1).topk(top).indices
    for moved in (attacked(model, images, eps, assay.PushOutTopK(0.25)), blind(model, fast, images, targets).images):
        shares = judge(model, moved, targets, seed=77).flatten(1)
        last = shares.topk(top).values[:, -1:]
        kept = (shares.gather(1, chosen) >= last - slack).double().mean(1)
        assert (kept >= found.overlap).all()
