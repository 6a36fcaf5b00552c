import math

import polars as pl
import pytest
import torch

import assay
from assay.models.case import Case
from assay.study.certify_study import CertifyStudy, certified_figure, certified_summary, certified_table
from reference.nets import plain

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
VOTES = assay.Smoothed(assay.Sparsified(assay.Gradient(), 0.2), assay.Gaussian(0.3), 60, antithetic=False)


def rows(study, model):
    return certified_table(study, Case(model, IMAGES, model.predict(IMAGES), torch.tensor([5, 1, 9]), 0))


def test_the_table_has_the_certificate_and_the_map_of_an_image_that_was_attacked_through_the_map_without_marks():
    model = assay.Classifier(plain())
    plan = CertifyStudy(VOTES, (0.0, 0.02), 0.9, attack=assay.MapAttack(1.0, "l2", 2, assay.PushOutTopK(0.2)))
    assert plan.attacked == assay.Smoothed(assay.Gradient(), assay.Gaussian(0.3), 32, antithetic=False)
    assert plan.attack_at(0.02) == assay.MapAttack(0.02, "l2", 2, assay.PushOutTopK(0.2))
    table = rows(plan, model)
    index = torch.tensor([5, 1, 9])
    found = assay.certify(model, IMAGES, VOTES, (0.0, 0.02), 0.9, index=index)
    assert table["image"].to_list() == [5, 1, 9] * 2
    assert table["cosine"].to_list() == pytest.approx(found.cosine.flatten().tolist())
    assert table["overlap"].to_list() == pytest.approx(found.overlap.flatten().tolist())
    assert table["radius"].to_list() == pytest.approx(found.radius.repeat(2).tolist())
    for name, share in found.shares.items():
        assert table[name].to_list() == pytest.approx(share.flatten().tolist())
    hit = plan.attack_at(0.02)(model, plan.attacked, IMAGES, index=index)
    moved = VOTES(model, hit.images, model.predict(IMAGES), index=index)
    kept = 1 - assay.TopK(0.2)(found.maps, moved)
    assert table["attacked_overlap"].to_list() == pytest.approx([1.0] * 3 + kept.tolist())


def test_an_explainer_without_derivatives_is_attacked_blindly():
    votes = assay.Smoothed(assay.Sparsified(assay.Occlusion(assay.Grid(2, 2)), 0.2), assay.Gaussian(0.3), 40, antithetic=False)
    plan = CertifyStudy(votes, (0.02,), 0.9, attack=assay.MapAttack(1.0, "l2", 2, assay.PushOutTopK(0.2)))
    assert isinstance(plan.attack_at(0.02), assay.BlackBoxMapAttack)
    assert plan.attack_at(0.02).eps == 0.02


def test_the_default_attack_takes_at_most_a_quarter_of_the_passes_of_a_plain_one_of_twenty_steps():
    smoothing = assay.SmoothGrad(0.3, samples=200)
    old = assay.MapAttack(0.02, "l2", 20, assay.MaximiseDistance(assay.Cosine()))

    def passes(work):
        model = assay.Classifier(plain(), output="probability")
        model.logits(IMAGES)
        before = model.passes.copy()
        work(model)
        used = model.passes - before
        return used.forward + used.backward

    case = lambda model: Case(model, IMAGES, model.predict(IMAGES), torch.tensor([5, 1, 9]), 0)  # noqa: E731
    none, usual = (CertifyStudy(smoothing, (0.02,), samples=40, attack=attack) for attack in ("none", CertifyStudy.attack))
    own = passes(lambda model: certified_table(usual, case(model))) - passes(lambda model: certified_table(none, case(model)))
    plain_one = passes(lambda model: old(model, smoothing, IMAGES)) - passes(lambda model: smoothing(model, IMAGES))
    assert 0 < own <= plain_one / 4


def test_gradients_have_no_certificate_of_top_pixels_and_no_curve_of_one():
    plan = CertifyStudy(assay.SmoothGrad(0.3, samples=20), (0.001,), 0.9, samples=40, attack="none")
    table = rows(plan, assay.Classifier(plain(), output="probability"))
    assert table["overlap"].is_nan().all()
    summary = certified_summary(table)
    assert summary["overlap"].is_nan().all()
    assert summary["certified"].item() == (table["cosine"] > 0).mean()
    assert b"top pixels kept" not in certified_figure(summary, 0.9)


def test_a_bound_that_says_nothing_counts_as_zero():
    table = pl.DataFrame(
        {
            "eps": [0.1, 0.1, 0.2, 0.2],
            "cosine": [0.8, -1.0, -1.0, -1.0],
            "seen": [0.4, -1.0, -1.0, -1.0],
            "overlap": [0.0] * 4,
            "top": [0.0] * 4,
            "out": [0.5, 0.1, 0.0, 0.0],
            "attacked_cosine": [0.9, 0.7, 0.6, 0.4],
            "attacked_overlap": [math.nan] * 4,
            "needed": [100.0, math.inf, math.inf, math.inf],
            "samples": [50] * 4,
        }
    )
    found = certified_summary(table)
    assert found["certified"].to_list() == [0.5, 0.0]
    assert found["cosine"].to_list() == pytest.approx([0.4, 0.0])
    assert found["out"].to_list() == pytest.approx([0.3, 0.0])
    assert found["attacked_cosine"].to_list() == pytest.approx([0.8, 0.5])
    assert found["needed"].to_list() == [100.0, math.inf]
    assert found["reachable"].to_list() == [0.5, 0.0]
    assert found["attacked_overlap"].is_nan().all()
    picture = certified_figure(found, 0.99)
    assert picture == certified_figure(found, 0.99)
    assert picture.startswith(b"<?xml")
