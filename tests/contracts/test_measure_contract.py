from functools import cache

import numpy as np
import pytest
import torch

import assay
from assay.errors import NotFiniteError, SpecError
from assay.explain.base import check_case
from assay.measure.base import with_masks
from reference.guards import snapshot
from reference.nets import Function, normed, plain
from reference.specs import cheap, own

COUNT, SIZE = 5, 8
TARGETS = torch.tensor([1, 0, 3, 2, 2])
EVERY = pytest.mark.parametrize("measure", [cheap(cls) for cls in own(assay.Measure)], ids=repr)
EXPLAINER = assay.SmoothGrad(sigma=0.1, samples=2)
SEVERAL = [EXPLAINER, assay.Gradient(), assay.RandomMap()]
SINGLE = assay.KernelShap(20, assay.Grid(2, 2))
INDEX = torch.tensor([10, 0, 77, 3, 12345678])


@pytest.fixture(scope="module")
def batch():
    return torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def maps(batch):
    return EXPLAINER(classifier(), batch, TARGETS)


@pytest.fixture(scope="module")
def usual(batch, maps):
    """`usual(measure)`: its scores of the usual call, made once."""
    return cache(lambda measure: measure(classifier(), batch, maps, TARGETS, **given(measure)))


@pytest.fixture(scope="module")
def placed(batch, maps):
    """`placed(measure)`: its scores of the images under the numbers `INDEX`, made once."""
    return cache(lambda measure: measure(classifier(), batch, maps, TARGETS, index=INDEX, seed=1, **given(measure)))


@pytest.fixture(scope="module")
def several(batch):
    """Maps of each of `SEVERAL`."""
    return [explainer(classifier(), batch, TARGETS, seed=2) for explainer in SEVERAL]


@pytest.fixture(scope="module")
def single(batch):
    """Maps of one channel, of `SINGLE`."""
    return SINGLE(classifier(), batch, TARGETS)


TRUTH = torch.zeros(COUNT, 1, SIZE, SIZE, dtype=torch.bool)
TRUTH[:, :, 2:5, 1:6] = True


def classifier(chunk=None):
    return assay.Classifier(normed(), mean=0.5, std=0.25, chunk=chunk)


def given(measure, **more):
    if "explainer" in measure.needs:
        more.setdefault("explainer", EXPLAINER)
    for need in ("truth", "distractor"):
        if need in measure.needs:
            more.setdefault(need, TRUTH)
    return more


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * other.abs().max().item())


@EVERY
def test_it_declares_its_facts(measure):
    cls = type(measure)
    assert cls.category
    assert isinstance(cls.higher_is_better, bool)
    assert measure.needs <= {"explainer", "truth", "distractor", "gradient", "layer"}
    assert cls.reference
    assert cls.meaning.endswith(".")


def test_the_directions_are_those_of_the_papers():
    higher = {
        "Deletion": False,
        "Insertion": True,
        "Infidelity": False,
        "LocalLinearError": False,
        "MaxSensitivity": False,
        "MaskIoU": True,
        "TruthShare": True,
        "DistractorShare": False,
        "KeepTop": True,
    }
    measures = assay.registered(assay.Measure)
    assert {name: measures[name].higher_is_better for name in higher} == higher


@EVERY
def test_scores_are_one_finite_float32_per_image(measure, batch, usual):
    scores = usual(measure)
    assert scores.shape == (COUNT,)
    assert scores.dtype == torch.float32
    assert scores.device == batch.device
    assert scores.isfinite().all()
    assert not scores.requires_grad


@EVERY
def test_a_seed_gives_the_same_bits_again(measure, batch, maps, placed):
    again = measure(classifier(), batch, maps, TARGETS, index=INDEX, seed=1, **given(measure))
    assert torch.equal(again, placed(measure))


@EVERY
def test_scores_do_not_depend_on_the_chunk_size(measure, batch, maps):
    whole = measure(classifier(64), batch, maps, TARGETS, **given(measure))
    for chunk in (1, 3, 7):
        close(measure(classifier(chunk), batch, maps, TARGETS, **given(measure)), whole)


@EVERY
@pytest.mark.parametrize("chosen", [[4, 2, 0, 3, 1], [3], [1, 1, 4]], ids=["reversed", "alone", "repeated"])
def test_scores_do_not_depend_on_order_subset_or_company(measure, batch, maps, placed, chosen):
    some = {need: TRUTH[chosen] if need in ("truth", "distractor") else value for need, value in given(measure).items()}
    found = measure(classifier(), batch[chosen], maps[chosen], TARGETS[chosen], index=INDEX[chosen], seed=1, **some)
    close(found, placed(measure)[chosen])


@EVERY
def test_no_targets_mean_the_predicted_classes(measure, batch, maps):
    model = assay.Classifier(plain(), mean=0.5, std=0.1)
    predicted = model.predict(batch)
    assert predicted.unique().numel() > 1
    close(measure(model, batch, maps, **given(measure)), measure(model, batch, maps, predicted, **given(measure)))


@EVERY
def test_the_global_generators_are_untouched_and_not_used(measure, batch, maps, usual, untouched):
    model, first = classifier(), usual(measure)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        state = np.random.get_state()
        np.random.seed(99)
        with untouched():
            assert torch.equal(measure(model, batch, maps, TARGETS, **given(measure)), first)
        np.random.set_state(state)


@EVERY
def test_the_callers_network_images_and_maps_are_untouched(measure, batch, maps):
    net, pixels, mine = normed(), batch.clone(), maps.clone()
    before = snapshot(net)
    measure(assay.Classifier(net), pixels, mine, TARGETS, **given(measure))
    assert snapshot(net) == before
    assert torch.equal(pixels, batch)
    assert torch.equal(mine, maps)


@EVERY
def test_maps_with_one_channel_are_taken(measure, batch, single):
    assert single.shape[1] == 1
    more = given(measure, explainer=SINGLE) if "explainer" in measure.needs else given(measure)
    assert measure(classifier(), batch, single, TARGETS, **more).isfinite().all()


@EVERY
def test_several_maps_at_once_score_as_they_do_alone(measure, batch, several):
    case = with_masks(check_case(classifier(), batch, TARGETS, 2), TRUTH, TRUTH)
    together = measure.compare(case, several, SEVERAL)
    assert together.shape == (3, COUNT)
    for explainer, one, scores in zip(SEVERAL, several, together, strict=True):
        more = given(measure, explainer=explainer) if "explainer" in measure.needs else given(measure)
        close(scores, measure(classifier(), batch, one, TARGETS, seed=2, **more))


@pytest.mark.parametrize(
    ("measure", "each"), [(assay.Infidelity(samples=8), 0), (assay.LocalLinearError(samples=8), 0), (assay.Deletion(5, cuts="equal"), 4)]
)
def test_passes_that_no_map_changes_are_shared(measure, each, batch, maps):
    def used(count):
        model = classifier()
        measure.compare(check_case(model, batch, TARGETS), [maps] * count, [None] * count)
        return model.passes.forward

    assert used(4) - used(1) == 3 * each * COUNT


def test_measures_of_one_case_share_the_clean_pass(batch, maps):
    model = classifier()
    case = check_case(model, batch)
    assert model.passes.forward == COUNT
    assay.Infidelity(samples=8).compare(case, [maps], [None])
    assay.LocalLinearError(samples=8).compare(case, [maps], [None])
    assert model.passes.forward == COUNT * (1 + 8 + 8)


@EVERY
def test_a_network_that_gives_nan_is_reported_with_the_image(measure, batch, maps):
    model = assay.Classifier(Function(lambda x: torch.where(x[:, 0] > 0.9995, torch.nan, x.sum(1))))
    spoilt = batch * 0.9
    spoilt[2, 0, 0, 0] = 1.0
    with pytest.raises(NotFiniteError, match=r"image 2 \(1 of 5\) is NaN or infinite"):
        measure(model, spoilt, maps, None, **given(measure))


@EVERY
def test_what_it_needs_is_asked_for_by_name(measure, batch, maps):
    for need in measure.needs:
        more = given(measure)
        del more[need]
        with pytest.raises(SpecError, match=f"{type(measure).__name__} .*{need}="):
            measure(classifier(), batch, maps, TARGETS, **more)
