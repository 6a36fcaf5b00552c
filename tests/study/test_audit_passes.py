"""What the verdict adds to the passes of an audit."""

from dataclasses import replace

import pytest
import torch

import assay
from assay.bench.exam.exam import EVERY_SUBSET, EXAM_MEASURES
from assay.study.asked import Asked
from assay.study.audit.scores import block_scores
from assay.study.audit.study import AuditStudy
from assay.study.gallery import pack, unpack
from reference.nets import plain

IMAGES = 4


def passes(study, judged, truth, side=8, count=IMAGES):
    """Forward passes, and passes back, of an image."""
    model = assay.Classifier(plain(size=side))
    images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(count, 1, side, side, dtype=torch.bool)
    masks[:, :, 2:5, 2:5] = True
    asked = Asked.given(model, images).beside(truth=masks if truth else None)
    plan = study.plan(asked)
    plan = plan if judged else replace(plan, nulls=replace(plan.nulls, measures=()))
    block = next(asked.read([range(count)]))
    before = model.passes.copy()
    block_scores(plan, block, lambda _: None)
    taken = model.passes - before
    return taken.forward / count, taken.backward / count


@pytest.mark.parametrize("truth", [False, True], ids=["without truth", "with truth"])
def test_a_default_audit_with_its_verdict_takes_at_most_two_and_a_half_times_the_passes_without(truth):
    with_it, without = (passes(AuditStudy(), judged, truth) for judged in (True, False))
    assert without < with_it
    assert sum(with_it) <= 2.5 * sum(without)
    assert with_it[0] <= 2.5 * without[0]


@pytest.fixture(scope="module")
def apart():
    """Passes of the default explainers with each measure: with what they are held against, and without; on images of a usual size."""
    whole = [type(one)() if hasattr(one, "steps") else one for one in EXAM_MEASURES]
    studies = {type(one).__name__: AuditStudy(measure=(one,)) for one in whole}
    return {name: [sum(passes(one, judged, True, side=32, count=16)) for judged in (True, False)] for name, one in studies.items()}


def test_by_any_set_of_measures_a_verdict_takes_at_most_two_and_a_half_times_the_passes_without(apart):
    """Where truth is known, which costs most; what measures take adds up, and `MaskIoU` takes nothing."""
    judged, without = apart["MaskIoU"]

    def ratio(names):
        return (judged + sum(apart[one][0] - judged for one in names)) / (without + sum(apart[one][1] - without for one in names))

    pair = AuditStudy(measure=(assay.Deletion(), assay.MaskIoU()))
    own = [sum(passes(pair, one, True, side=32, count=16)) for one in (True, False)]
    assert own[0] / own[1] == pytest.approx(ratio(("Deletion", "MaskIoU")), rel=1e-3)
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
