"""What the verdict adds to the passes of an audit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import assay
from assay.bench.exam.exam import EVERY_SUBSET, EXAM_MEASURES
from assay.study.asked import Asked
from assay.study.audit.nulls import scored_with_nulls
from assay.study.audit.scores import block_scores
from assay.study.audit.study import AuditStudy
from assay.study.gallery_images import pack, unpack
from reference.nets import plain

IMAGES = 4


def planned(study, truth, side=8, count=IMAGES):
    """A model, and what is to be done with a block of images."""
    model = assay.Classifier(plain(size=side))
    images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(count, 1, side, side, dtype=torch.bool)
    masks[:, :, 2:5, 2:5] = True
    asked = Asked.given(model, images).beside(truth=masks if truth else None)
    return model, study.plan(asked), next(asked.read([range(count)]))


def taken(model, block, work):
    """Forward passes, and passes back, of an image, and what the work gives."""
    before = model.passes.copy()
    found = work()
    spent = model.passes - before
    return np.array([spent.forward, spent.backward]) / len(block.batch), found


def passes(study, judged, truth, **size):
    """Forward passes, and passes back, of an image in an audit."""
    model, plan, block = planned(study, truth, **size)
    plan = plan if judged else replace(plan, nulls=replace(plan.nulls, measures=()))
    return taken(model, block, lambda: block_scores(plan, block, lambda _: None))[0]


@pytest.mark.parametrize("truth", [False, True], ids=["without truth", "with truth"])
def test_a_default_audit_with_its_verdict_takes_at_most_two_and_a_half_times_the_passes_without(truth):
    with_it, without = (passes(AuditStudy(), judged, truth) for judged in (True, False))
    assert sum(without) < sum(with_it)
    assert sum(with_it) <= 2.5 * sum(without)
    assert with_it[0] <= 2.5 * without[0]


def test_by_any_set_of_measures_a_verdict_takes_at_most_two_and_a_half_times_the_passes_without():
    """Where truth is known, which costs most, on images of a usual size."""
    size = {"side": 32, "count": 16}
    measures = tuple(type(one)() if hasattr(one, "steps") else one for one in EXAM_MEASURES)
    model, plan, block = planned(AuditStudy(measure=measures), True, **size)
    case = block.case
    clean = sum(taken(model, block, lambda: model.logits(case.images))[0])
    explaining, maps = taken(
        model, block, lambda: [one.attribute(model, case.images, case.targets, case.index, case.seed) for one in plan.everyone]
    )
    sound = torch.zeros(len(maps), len(block.batch), dtype=torch.bool)
    holding, made = taken(model, block, lambda: plan.nulls.extra(case, maps[:-1], sound))
    cost = {
        type(one).__name__: [
            sum(taken(model, block, lambda against=against, one=one: scored_with_nulls(one, case, maps, plan.everyone, against))[0])
            for against in (made.maps, [])
        ]
        for one in measures
    }

    def ratio(names):
        whole, without = (sum(cost[name][at] for name in names) for at in (0, 1))
        return (clean + sum(explaining + holding) + whole) / (clean + sum(explaining) + without)

    pair = AuditStudy(measure=(assay.Deletion(), assay.MaskIoU()))
    own = [sum(passes(pair, judged, True, **size)) for judged in (True, False)]
    assert own[0] / own[1] == pytest.approx(ratio(("Deletion", "MaskIoU")), rel=0.01)
    ratios = {names: ratio(names) for names in EVERY_SUBSET}
    assert max(ratios.values()) <= 2.5, max(ratios, key=ratios.get)


def test_the_gallery_keeps_what_an_explainer_cannot_tell_from_0():
    model = assay.Classifier(plain())
    images = torch.rand(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    unsure, other = assay.KernelShap(20, assay.Grid(3, 3)), assay.Gradient()
    asked = Asked.given(model, images)
    block = next(asked.read([range(IMAGES)]))
    found = block_scores(AuditStudy(explainer=(other, unsure)).plan(asked), block, lambda _: None)
    ((_, shown),) = unpack(pack(found.shown([2])))
    _, doubt = unsure.with_doubt(model, images, block.case.targets, torch.arange(IMAGES), 0)
    assert torch.equal(shown.doubt[1], doubt[2, 0])
    assert 0 < int(shown.doubt[1].sum()) < 64
    assert not shown.doubt[0].any()
