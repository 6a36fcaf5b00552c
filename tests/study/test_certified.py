import math

import polars as pl
import pytest
import torch

import assay
from assay.measure.base import Case
from assay.study.certify import CertifyStudy, certified_figure, certified_summary, certified_table
from reference.nets import plain

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
VOTES = assay.Smoothed(assay.Sparsified(assay.Gradient(), 0.2), assay.Gaussian(0.3), 60, antithetic=False)


def rows(study, model):
    return certified_table(study, Case(model, IMAGES, model.predict(IMAGES), torch.tensor([5, 1, 9]), 0))


def test_the_table_has_the_certificate_and_an_attack_that_cannot_be_differentiated_is_made_blindly():
    model = assay.Classifier(plain())
    attack = assay.MapAttack(eps=1.0, norm="l2", steps=2, goal=assay.PushOutTopK(0.2))
    plan = CertifyStudy(VOTES, (0.0, 0.02), 0.9, attack=attack)
    assert isinstance(plan.attack_at(0.02), assay.BlackBoxMapAttack)
    assert plan.attack_at(0.02).eps == 0.02
    table = rows(plan, model)
    found = assay.certify(model, IMAGES, VOTES, (0.0, 0.02), 0.9, index=torch.tensor([5, 1, 9]))
    assert table["image"].to_list() == [5, 1, 9] * 2
    assert table["cosine"].to_list() == pytest.approx(found.cosine.flatten().tolist())
    assert table["overlap"].to_list() == pytest.approx(found.overlap.flatten().tolist())
    assert table["radius"].to_list() == pytest.approx(found.radius.repeat(2).tolist())
    assert table["attacked_overlap"].is_between(0, 1).all()


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
            "attacked_cosine": [0.9, 0.7, 0.6, 0.4],
            "attacked_overlap": [math.nan] * 4,
            "needed": [100.0, math.inf, math.inf, math.inf],
            "samples": [50] * 4,
        }
    )
    found = certified_summary(table)
    assert found["certified"].to_list() == [0.5, 0.0]
    assert found["cosine"].to_list() == pytest.approx([0.4, 0.0])
    assert found["attacked_cosine"].to_list() == pytest.approx([0.8, 0.5])
    assert found["needed"].to_list() == [100.0, math.inf]
    assert found["reachable"].to_list() == [0.5, 0.0]
    assert found["attacked_overlap"].is_nan().all()
    picture = certified_figure(found, 0.99)
    assert picture == certified_figure(found, 0.99)
    assert picture.startswith(b"<?xml")
