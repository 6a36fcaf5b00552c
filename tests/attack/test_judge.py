"""The judge of attacks: what it keeps, and the defence of the prediction, whose sign decides what an attack looks for."""

import pytest
import torch

import assay
from assay.attack.ball import ball
from assay.attack.forms.form import form
from assay.attack.forms.softened import Softened
from assay.attack.judge import Judge, Scene, Seen
from assay.models.case import Case
from reference.nets import plain

EPS = 0.5
IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def scene(explainer=None, goal=None, **more):
    model = assay.Classifier(plain())
    logits, index = model.logits(IMAGES), torch.arange(len(IMAGES))
    targets = logits.argmax(1)
    explainer = explainer or assay.Gradient()
    maps = explainer.attribute(model, IMAGES, targets, index, 0)
    goal = goal or assay.MaximiseDistance(assay.L2())
    given = {"keep_class": True, "tolerance": None} | more
    return Scene(Case(model, IMAGES, targets, index, 0, outputs=logits), explainer, maps, ball("l2", EPS), goal, **given)


def test_an_unsafe_prediction_is_worth_less_by_its_weight_and_a_safe_one_costs_nothing():
    one, rows = scene(), torch.arange(4)
    best = one.case.logits.max(1).values
    tie = one.case.logits.scatter(1, one.case.logits.topk(2).indices[:, 1:], best[:, None])
    free = one.goal.climb(one.maps, one.maps + 1)
    lost = one.lost(tie, rows, 0.25)
    torch.testing.assert_close(lost, torch.full((4,), 0.25))
    torch.testing.assert_close(one.worth(Seen(one.maps + 1, tie), rows, 0.25, 3.0), free - 3.0 * 0.25)
    sure = one.case.logits.scatter_add(1, one.case.logits.argmax(1, keepdim=True), torch.full((4, 1), 100.0))
    assert torch.equal(one.lost(sure, rows, 0.25), torch.zeros(4))


def test_what_is_shown_outside_the_ball_is_put_back_and_the_best_is_kept():
    one = scene(keep_class=False)
    judge, rows = Judge(one), torch.arange(4)
    way = torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(5))
    seen = []
    for size in (0.4, 30.0, 0.1):
        judge.consider(rows, IMAGES + size * way / way.flatten(1).norm(dim=1).view(-1, 1, 1, 1))
        seen.append(judge.value.clone())
        assert ((judge.images - IMAGES).flatten(1).norm(dim=1) <= EPS + 1e-5).all()
        assert judge.images.min() >= 0
        assert judge.images.max() <= 1
    assert (seen[1] > seen[0]).any()
    assert torch.equal(seen[2], torch.maximum(seen[1], seen[2]))
    torch.testing.assert_close(one.goal.reached(one.maps, one.explain(judge.images, rows)), judge.value)


BOTH = [assay.Gradient(), assay.Lime(12, assay.Grid(2, 2)), assay.KernelShap(12, assay.Grid(2, 2))]
"""Forms that hold the prediction themselves, and forms beside which that is done."""


@pytest.mark.parametrize("explainer", BOTH, ids=lambda one: type(one).__name__)
def test_the_defence_raises_the_lead_of_the_predicted_class(explainer):
    attack = assay.MapAttack(EPS, "l2", goal=assay.MaximiseDistance(assay.L2()), margin=50.0, weight=1e6)
    one, rows = scene(explainer), torch.arange(4)
    soft, shape = Softened(one.case.model, attack.beta), form(explainer)
    pull = attack._climb(one, soft, shape, IMAGES, rows, 0)
    pixels = IMAGES.clone().requires_grad_()
    logits = one.case.model.forward(pixels)
    ids = one.case.logits.argmax(1)
    lead = logits.gather(1, ids[:, None])[:, 0] - logits.scatter(1, ids[:, None], -torch.inf).amax(1)
    (slope,) = torch.autograd.grad(lead.sum(), pixels)
    agree = torch.nn.functional.cosine_similarity(pull.flatten(1), slope.flatten(1))
    assert (agree > 0.3).all(), agree
