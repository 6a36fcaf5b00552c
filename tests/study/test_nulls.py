import math
from itertools import pairwise

import polars as pl
import pytest
import torch

import assay
from assay.errors import SpecError
from assay.explain.base import Explainer
from assay.models.case import Case
from assay.models.randomised import randomised
from assay.report.questions import Questions
from assay.study.audit.nulls import (
    ANOTHER,
    ELSEWHERE,
    FLIPPED,
    LAST,
    MEAN,
    MOST_NULLS,
    NULL_STEPS,
    OWN,
    RANDOM,
    SHIFTS,
    Nulls,
    agreements,
    another,
    coarse,
    elsewhere,
    judges,
    random_phases,
    scored_with_nulls,
    unchanged,
)
from assay.study.audit.study import AuditStudy
from assay.study.study import Asked, run
from reference.nets import plain
from reference.sources import Broken, batch

QUICK = AuditStudy((assay.Gradient(),), (assay.Deletion(steps=3),))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_map_elsewhere_has_the_same_values_moved_in_a_circle_by_at_least_a_quarter_of_each_side():
    maps = torch.rand(6, 2, 8, 12, generator=rng())
    moved = elsewhere(maps, torch.arange(6), 0)
    for one, other in zip(maps, moved, strict=True):
        shifts = [(dy, dx) for dy in range(8) for dx in range(12) if torch.equal(one.roll((dy, dx), (1, 2)), other)]
        assert len(shifts) == 1
        assert 2 <= shifts[0][0] <= 6
        assert 3 <= shifts[0][1] <= 9


def test_where_a_map_is_put_depends_on_seed_and_image_number_alone():
    maps = torch.rand(4, 1, 8, 8, generator=rng())
    whole = elsewhere(maps, torch.arange(4), 3)
    assert torch.equal(elsewhere(maps[2:], torch.tensor([2, 3]), 3), whole[2:])
    assert not torch.equal(elsewhere(maps, torch.arange(4), 4), whole)


def test_places_elsewhere_differ_from_copy_to_copy():
    maps = torch.rand(4, 1, 8, 8, generator=rng())
    assert not torch.equal(elsewhere(maps, torch.arange(4), 3, 1), elsewhere(maps, torch.arange(4), 3))


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_random_phases_keep_mean_and_texture_and_nothing_of_the_place(size):
    maps = torch.rand(5, 2, *size, generator=rng()) + 1
    found = random_phases(maps, torch.arange(5), 0)
    torch.testing.assert_close(found.mean((2, 3)), maps.mean((2, 3)))
    torch.testing.assert_close(torch.fft.rfft2(found).abs(), torch.fft.rfft2(maps).abs(), rtol=1e-3, atol=1e-3)
    assert (found - maps).abs().amax((1, 2, 3)).min() > 0.1
    assert torch.equal(random_phases(maps[3:], torch.tensor([3, 4]), 0), found[3:])
    assert not torch.equal(random_phases(maps, torch.arange(5), 0, 1), found)


def test_a_map_is_unchanged_that_is_the_same_but_for_a_positive_factor():
    maps = torch.rand(3, 1, 4, 4, generator=rng())
    zero, lost = torch.zeros(3, 1, 4, 4), torch.full((3, 1, 4, 4), math.nan)
    others = {"twice": 2 * maps, "flipped": -maps, "zero": zero, "lost": lost, "moved": maps.roll(1, 2)}
    assert [name for name, one in others.items() if unchanged(maps, one).all()] == ["twice"]
    assert not unchanged(maps, others["flipped"]).any()
    assert unchanged(zero, zero).all()


def test_another_image_is_of_another_class_and_all_such_images_come_up():
    targets = torch.tensor([0, 1, 0, 2, 1, 0])
    seen = set()
    for seed in range(60):
        found = another(targets, torch.arange(6), seed)
        assert (targets[found] != targets).all()
        seen |= {(image, int(one)) for image, one in enumerate(found)}
    assert len(seen) == sum(int((targets != own).sum()) for own in targets)


def test_with_one_class_there_is_no_other_image():
    assert another(torch.tensor([1, 1, 1]), torch.arange(3), 0).tolist() == [-1, -1, -1]


def test_only_measures_of_faithfulness_and_known_truth_judge():
    measures = [assay.Deletion(), assay.MaxSensitivity(), assay.MaskIoU(), assay.AttackedSimilarity(), assay.Infidelity()]
    assert judges(measures) == [measures[0], measures[2], measures[4]]


def test_curves_are_compared_with_few_steps_and_others_as_they_are():
    assert coarse(assay.Deletion(steps=32)) == assay.Deletion(steps=NULL_STEPS, reverse=False)
    assert coarse(assay.Deletion(steps=3)) == assay.Deletion(steps=3, reverse=False)
    assert coarse(assay.Infidelity()) is None


def case_of(model, images, truth=None):
    logits = model.logits(images)
    return Case(model, images, logits.argmax(1), torch.arange(len(images)), 0, truth)


def test_scores_of_nulls_are_those_of_the_maps_made_by_hand():
    model, images = assay.Classifier(plain()), torch.rand(5, 3, 8, 8, generator=rng())
    case, measure = case_of(model, images), assay.Insertion(steps=4)
    explainers = [assay.Gradient(), assay.GradientXInput()]
    nulls = Nulls(explainers, [measure], 0, Asked.given(model, images).twins, False)
    maps = [one(model, images) for one in explainers]
    made = nulls.extra(case, maps, torch.zeros(3, 5, dtype=torch.bool))
    _, scores = scored_with_nulls(measure, case, maps, explainers, made.maps)
    found = made.averaged(scores)
    donors = another(case.targets, case.index, 0)
    hand = {
        OWN: [maps[1]],
        ELSEWHERE: [elsewhere(maps[1], case.index, 0, copy) for copy in range(SHIFTS)],
        FLIPPED: [-maps[1]],
        ANOTHER: [maps[1][donors.clamp_min(0)]],
        RANDOM: [explainers[1](randomised(model, "all", 0), images, case.targets)],
    }
    for kind, ways in hand.items():
        place = nulls.items.index(("GradientXInput", kind))
        mean = torch.stack([measure(model, images, one) for one in ways]).mean(0)
        torch.testing.assert_close(found[place], mean, rtol=1e-4, atol=1e-6)
        assert made.known[place].all() or kind == ANOTHER
    assert not made.known[nulls.items.index(("GradientXInput", LAST))].any()  # The random last layer changes it.
    contrast = assay.ColourContrast()(model, images)
    others = torch.stack([contrast[torch.arange(5) != row].mean(0) for row in range(5)])
    place = nulls.items.index((f"control {MEAN}", OWN))
    torch.testing.assert_close(made.maps[made.sources[place][0]], others)
    torch.testing.assert_close(found[place], measure(model, images, others), rtol=1e-4, atol=1e-6)


def test_maps_that_are_the_same_for_any_model_leave_the_question_of_the_model_open():
    model, images = assay.Classifier(plain()), torch.rand(12, 3, 8, 8, generator=rng())
    found = assay.audit(model, images, explainers=[Fixed(), assay.Gradient()], measures=[assay.Deletion(steps=3)])
    rows = found.answers.filter((pl.col("explainer") == "Fixed") & (pl.col("question") == "this model"))
    assert rows["p"].is_nan().all()
    assert rows["holds"].is_null().all()
    assert "Fixed" not in found.trusted


def test_a_map_that_a_random_last_layer_leaves_as_it_is_differs_in_nothing_and_one_that_it_changes_has_no_such_null():
    model, images = assay.Classifier(plain()), torch.rand(12, 3, 8, 8, generator=rng())
    found = assay.audit(model, images, explainers=[BeforeTheLast(), assay.Gradient()], measures=[assay.Deletion(steps=3)])
    rows = found.answers.filter(pl.col("question") == "this model")
    assert rows["difference"][0] == 0
    assert rows["difference"][1] != 0


def test_maps_put_elsewhere_by_random_phases_are_another_null():
    model, images = assay.Classifier(plain()), torch.rand(12, 3, 8, 8, generator=rng())
    more = {"explainers": [assay.Gradient()], "measures": [assay.Deletion(steps=3)]}
    shift, phase = (assay.audit(model, images, null=null, **more).answers for null in ("shift", "phase"))
    changed = [one != other for one, other in zip(shift["difference"], phase["difference"], strict=True)]
    assert dict(zip(shift["question"], changed, strict=True)) == {
        "where": True,
        "this image": False,
        "this model": False,
        "more than the image": True,
    }
    with pytest.raises(SpecError, match="null must be shift or phase"):
        assay.audit(model, images, null="away", **more)


def test_without_a_measure_that_judges_nothing_is_held_against_nulls():
    model, images = assay.Classifier(plain()), torch.rand(3, 3, 8, 8, generator=rng())
    found = assay.audit(model, images, explainers=[assay.Gradient()], measures=["MaxSensitivity(samples=2)"])
    assert found.answers.height == 0
    assert any("No question could be asked" in text for text in found.verdict)


def test_measures_whose_passes_maps_share_cost_nothing_more():
    model, images = assay.Classifier(plain()), torch.rand(3, 3, 8, 8, generator=rng())
    case, measure = case_of(model, images), assay.Infidelity(samples=7)
    maps = [assay.Gradient()(model, images)]
    before = model.passes.copy()
    alone, _ = scored_with_nulls(measure, case, maps, [assay.Gradient()], [])
    once = (model.passes - before).forward
    before = model.passes.copy()
    both, nulls = scored_with_nulls(measure, case, maps, [assay.Gradient()], [-maps[0], 2 * maps[0]])
    assert (model.passes - before).forward <= once
    assert torch.equal(both, alone)
    assert len(nulls) == 2


def table_of(nulls_of, explainer, kind):
    return nulls_of.filter((pl.col("map") == explainer) & (pl.col("kind") == kind))["value"]


def test_a_map_that_is_not_finite_has_no_nulls_and_gives_none_to_others(monkeypatch):
    model, images = assay.Classifier(plain()), torch.rand(6, 3, 8, 8, generator=rng(1))
    attribute = assay.Gradient.attribute

    def broken(self, *arguments):
        maps = attribute(self, *arguments)
        maps[0] = math.nan
        return maps

    monkeypatch.setattr(assay.Gradient, "attribute", broken)
    asked = Asked(model, Broken(batch(images)))
    tables = QUICK.block(asked, next(asked.read([range(6)])), lambda _: None).tables
    values = {kind: table_of(tables["nulls"], "Gradient", kind) for kind in (OWN, ELSEWHERE, ANOTHER)}
    donors = another(model.predict(images), torch.arange(6), 0)
    assert values[OWN].is_nan().to_list() == [True, *[False] * 5]
    assert values[ELSEWHERE].is_nan().to_list() == [True, *[False] * 5]
    assert values[ANOTHER].is_nan().to_list() == [at == 0 or int(donors[at]) <= 0 for at in range(6)]


def test_of_many_images_evenly_spaced_blocks_are_held_against_nulls():
    nulls = Nulls([], [assay.Deletion()], 0, lambda _: (None, None), False)
    blocks = [range(start, start + 64) for start in range(0, 64 * 64, 64)]
    held = [at for at, rows in enumerate(blocks) if nulls.wanted(rows, 64 * 64)]
    assert len(held) == MOST_NULLS / 64
    assert {second - first for first, second in pairwise(held)} == {8}
    assert all(nulls.wanted(range(start, min(start + 10, 75)), 75) for start in range(0, 75, 10))


@pytest.mark.parametrize("shift", [0, 3])
def test_maps_agree_with_themselves_and_not_with_their_opposite(shift):
    maps = torch.rand(3, 1, 10, 10, generator=rng()) + shift
    found = agreements(torch.arange(3), {"A": maps, "B": 2 * maps, "C": -maps})
    rows = {(one, two): (spearman, overlap) for _, one, two, spearman, overlap in found.rows() if _ == 0}
    assert rows["A", "B"] == pytest.approx((1, 1))
    assert rows["A", "C"] == pytest.approx((-1, 0))


@assay.register
class Fixed(Explainer):
    """Maps that were made elsewhere."""

    category = "given"
    reference = "none"
    fixed = True

    def attribute(self, model, images, targets, index, seed):
        return images.mean(1, keepdim=True)


@assay.register
class BeforeTheLast(Explainer):
    """Where the layer before the last is active; the class that is asked for does not matter."""

    category = "cam"
    reference = "none"

    def attribute(self, model, images, targets, index, seed):
        net = model.module
        with torch.no_grad():
            return net[:2](images).relu().sum(1, keepdim=True)


@assay.register
class Flipped(Explainer):
    """Gradients with the wrong sign."""

    category = "gradient"
    reference = "none"

    def attribute(self, model, images, targets, index, seed):
        return -assay.IntegratedGradients(steps=5).attribute(model, images, targets, index, seed)


@assay.register
class Shuffled(Explainer):
    """Gradients whose pixels are shuffled."""

    category = "gradient"
    reference = "none"

    def attribute(self, model, images, targets, index, seed):
        maps = assay.Gradient().attribute(model, images, targets, index, seed)
        return maps.flatten(2)[:, :, torch.randperm(maps[0, 0].numel(), generator=rng(5))].view_as(maps)


@assay.register
class Flat(Explainer):
    """The same value everywhere."""

    category = "gradient"
    reference = "none"

    def attribute(self, model, images, targets, index, seed):
        return torch.ones_like(images[:, :1])


@assay.register
class OfAnother(Explainer):
    """Gradients of the image before."""

    category = "gradient"
    reference = "none"

    def attribute(self, model, images, targets, index, seed):
        return assay.Gradient().attribute(model, images.roll(1, 0), targets, index, seed)


@pytest.fixture(scope="module")
def digits():
    """Right and wrong explainers on Hard Digits with the shipped network."""
    held = assay.data.read(assay.data.load("hard-digits"), range(32))
    wrong = [Flipped(), Shuffled(), Flat(), OfAnother(), assay.Edges(), assay.ColourContrast(), assay.Centre()]
    right = [assay.Gradient(), assay.IntegratedGradients(steps=5)]
    measures = [assay.Deletion(steps=8), assay.MaskIoU()]
    model = assay.load("hard-digits")
    return assay.audit(model, held.images, explainers=[*right, *wrong], measures=measures, truth=held.truth, labels=held.labels)


def test_on_hard_digits_right_explainers_are_trusted_and_wrong_ones_are_not(digits):
    assert "IntegratedGradients(steps=5)" in digits.trusted
    assert set(digits.trusted) <= {"Gradient", "IntegratedGradients(steps=5)"}
    assert digits.recommended in (*digits.trusted, None)
    assert digits.silent == ()


def test_blind_maps_fail_the_question_of_the_model_with_exactly_nothing(digits):
    rows = digits.answers.filter(pl.col("explainer").is_in(["Edges", "ColourContrast", "Centre"]) & (pl.col("question") == "this model"))
    assert (rows["difference"] == 0).all()
    assert (~rows["holds"]).all()
    blob = digits.answers.filter((pl.col("explainer") == "Centre") & (pl.col("question") == "this image"))
    assert (blob["difference"] == 0).all()


def test_the_verdict_speaks_in_the_questions(digits):
    told = "\n".join(digits.verdict)
    assert "ColourContrast: it says where, and in this image, but hardly changes when the model's weights are random" in told
    assert "The model is right on" in told
    assert [row.trusted for row in digits.page.part(Questions).rows] == [
        name in digits.trusted for name in digits.summary["explainer"].unique(maintain_order=True)
    ]


def test_answers_do_not_depend_on_how_often_the_work_is_cut_but_for_the_other_image():
    model, images = assay.Classifier(plain()), torch.rand(8, 3, 8, 8, generator=rng(2))
    found = []
    for block in (8, 4):
        whole = run(QUICK, Asked(model, Broken(batch(images)), data={"name": "mine"}), block=block).found()
        found.append(whole.answers.filter(pl.col("question") != "this image"))
    assert found[0]["difference"].to_list() == pytest.approx(found[1]["difference"].to_list(), rel=1e-3, abs=1e-6)


def test_equal_pixels_make_no_two_maps_alike():
    left, top = torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    left[..., :5], top[..., :5, :] = 1.0, 1.0
    found = agreements(torch.tensor([0]), {"left": left, "top": top}).row(0, named=True)
    assert found["spearman"] == pytest.approx(0.0, abs=1e-9)
    assert found["overlap"] == pytest.approx(0.5)
