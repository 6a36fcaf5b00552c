from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from assay.core.registry import short
from assay.explain.backgrounds import Blur
from assay.models.accuracy import Accuracy
from assay.papers.diet.outcome import BASELINE, MASK, NETWORK, Scored
from assay.papers.diet.summary import summarised
from assay.papers.diet.verdict import targets, verdict
from assay.tune.backgrounds import OneOf, RandomColour

COUNT = 160
INDEX = torch.arange(COUNT)


def shares(value):
    """Zeros and ones with that mean."""
    return (torch.arange(COUNT) < round(value * COUNT)).float()


def spread(mean):
    """Values around a mean."""
    return mean + torch.linspace(-0.05, 0.05, COUNT)


def outcome(
    mask=0.7, rival=0.3, agreement=1.0, tuned=0.95, base=0.95, reversed_=None, worst=0.97, shape=0.1, dataset="hard-mnist", variant="v"
):
    """What a study with these means came to."""
    scored = [
        Scored("test", BASELINE, "", "model", INDEX, {"accuracy": shares(base)}),
        Scored("test", "DiET", "", "model", INDEX, {"accuracy": shares(tuned)}),
        Scored(
            "test",
            "DiET",
            MASK,
            "simplified",
            INDEX,
            {"agreement, rounded masks": shares(agreement), "accuracy, rounded masks": shares(0.95), "kept by rounded masks": spread(0.1)},
        ),
        Scored("test", "DiET", MASK, "maps", INDEX, {"IoU": spread(mask)}),
        Scored("test", BASELINE, "Gradient", "maps", INDEX, {"IoU": spread(rival).flip(0)}),
        Scored("test", BASELINE, "RandomMap", "maps", INDEX, {"IoU": spread(0.1)}),
        Scored("test", "DiET", MASK, "erasure", INDEX, {"RandomColour": shares(1.0), "Blur": shares(worst)}),
        Scored("test", BASELINE, MASK, "erasure", INDEX, {"RandomColour": shares(0.5), "Blur": shares(0.4)}),
        Scored("test", "DiET", "the mask's shape alone", "erasure", INDEX, {"RandomColour": shares(shape)}),
    ]
    data = {"test": SimpleNamespace(name=dataset)}
    if reversed_ is not None:
        scored.append(Scored("reversed", BASELINE, "", "model", INDEX, {"accuracy": shares(reversed_)}))
        data["reversed"] = data["test"]
    settings = SimpleNamespace(background=RandomColour())
    return SimpleNamespace(
        variant=variant,
        scored=scored,
        data=data,
        tuned={"DiET": SimpleNamespace(settings=settings)},
        gallery={"tune": SimpleNamespace(truth=None)},
        unread=(),
    )


def long_of(*outcomes):
    return pl.concat(one.frame().select(pl.lit(each.variant).alias("variant"), pl.all()) for each in outcomes for one in each.scored)


def said(one):
    return [(sentence.tone, sentence.text) for sentence in verdict([one], long_of(one), "DiET", 0)]


def test_a_study_in_which_all_goes_well_is_good_throughout():
    found = said(outcome())
    assert [tone for tone, _ in found] == ["good"] * 4
    assert "can stand in for the baseline" in found[0][1]
    assert "clearly better located than every map" in found[1][1]
    assert "carries over" in found[2][1]
    assert "pixels that are kept" in found[3][1]


@pytest.mark.parametrize(
    ("changes", "place", "tone", "words"),
    [
        ({"agreement": 0.9}, 0, "caution", "not the baseline's equal"),
        ({"agreement": 0.98}, 0, "caution", "not the baseline's equal"),
        ({"tuned": 0.9}, 0, "caution", "not the baseline's equal"),
        ({"mask": 0.4}, 1, "good", "the masks are better located"),
        ({"mask": 0.3}, 1, "bad", "not shown to be better located than Gradient"),
        ({"worst": 0.9}, 2, "caution", "does not carry over to every background"),
        ({"shape": 0.8}, 3, "caution", "in their shape or place"),
    ],
)
def test_each_rule_turns_its_own_sentence(changes, place, tone, words):
    found = said(outcome(**changes))[place]
    assert found[0] == tone
    assert words in found[1]


def test_one_uncertain_rival_is_enough_for_masks_not_to_be_called_better_located_than_every_map():
    # The rival of the nearest mean is beaten on every image; another, a little lower, is as good as the mask on many.
    wild = 0.64 + 0.6 * torch.where(INDEX % 2 == 0, 1.0, -1.0)
    one = outcome(mask=0.7, rival=0.65)
    one.scored.append(Scored("test", BASELINE, "Lime", "maps", INDEX, {"IoU": wild}))
    tone, text = next(each for each in said(one) if "overlap the known evidence" in each[1])
    assert tone == "bad"
    assert "not shown to be better located than Lime." in text


@pytest.mark.parametrize(
    ("reversed_", "tone", "words"), [(0.1, "note", "it relies on the signal"), (0.9, "caution", "hardly uses the signal")]
)
def test_a_spurious_signal_is_relied_on_when_moving_it_costs_accuracy(reversed_, tone, words):
    found = said(outcome(reversed_=reversed_))[0]
    assert found[0] == tone
    assert words in found[1]


def test_each_of_several_backgrounds_tuned_with_is_no_other_background():
    several = OneOf((RandomColour(), Blur()))
    one = outcome(worst=0.5)
    one.tuned["DiET"] = SimpleNamespace(settings=SimpleNamespace(background=several))
    for each in one.scored:
        if (each.kind, each.attribution) == ("erasure", MASK):
            each.values.update({short(several): shares(1.0), "GaussianNoise": shares(0.975)})
    (found,) = (text for _, text in said(one) if "worst other background" in text)
    assert "97.5% before GaussianNoise" in found
    assert "carries over" in found


def test_other_images_as_background_are_no_erasure_to_be_robust_to():
    one = outcome()
    erased = next(each for each in one.scored if (each.kind, each.model, each.attribution) == ("erasure", "DiET", MASK))
    erased.values["OtherImages"] = shares(0.4)
    assert said(one)[2][0] == "good"


def test_other_recipes_and_the_mask_network_are_told_in_figures():
    one = outcome()
    values = {"agreement, rounded masks": shares(0.9), "kept by rounded masks": spread(0.25)}
    one.scored += [
        Scored("test", "literal", MASK, "simplified", INDEX, values),
        Scored("test", "literal", MASK, "maps", INDEX, {"IoU": spread(0.35)}),
        Scored("test", "DiET", NETWORK, "simplified", INDEX, values),
        Scored("test", "DiET", NETWORK, "maps", INDEX, {"IoU": spread(0.8)}),
    ]
    one.tuned["literal"] = one.tuned["DiET"]
    notes = [text for tone, text in said(one) if tone == "note"]
    assert notes[0].startswith("literal: its rounded masks keep 25.0% of test images")
    assert "class for 90.0%, and overlap the evidence by 0.35" in notes[0]
    assert notes[1].endswith("for 90.0% of test images and overlap the evidence by 0.80.")


def test_files_that_could_not_be_read_are_told():
    one = outcome()
    one.unread = ("a.jpeg", "b.jpeg")
    assert said(one)[-1] == ("caution", "2 files could not be read and took no part; the first: a.jpeg, b.jpeg.")


def test_masks_of_images_without_the_signal_are_counted_apart():
    one = outcome(reversed_=0.1)
    one.gallery["tune"] = SimpleNamespace(truth=torch.ones(1))
    bare = torch.arange(COUNT) % 2 == 0
    for scored in one.scored:
        if (scored.model, scored.attribution, scored.kind) == ("DiET", MASK, "maps"):
            scored.values["IoU"][bare] = torch.nan
        if scored.kind == "simplified":
            scored.values["kept by rounded masks"] = torch.where(bare, 0.001, 0.02)
    tone, text = said(one)[-1]
    assert tone == "note"
    assert "2.00% of test images with the signal and 0.10% of those without" in text
    assert "evidence is its absence" in text


def test_several_forms_are_told_apart():
    both = [outcome(variant="weak"), outcome(variant="strong", mask=0.2)]
    texts = [sentence.text for sentence in verdict(both, long_of(*both), "DiET", 0)]
    assert [text.split(":")[0] for text in texts] == ["weak"] * 4 + ["strong"] * 4


def test_the_targets_of_hard_mnist_are_judged_on_their_bounds():
    met = {one.name: one.met for one in targets(outcome(base=1.0, tuned=1.0), long_of(outcome(base=1.0, tuned=1.0)), "DiET")}
    assert len(met) == 6
    assert all(met.values())
    weak = outcome(mask=0.55, base=0.95, tuned=0.9, agreement=0.9)
    missed = [one.name for one in targets(weak, long_of(weak), "DiET") if not one.met]
    assert len(missed) == 4
    assert any("overlap of the mask" in name for name in missed)


def test_the_tag_has_a_target_at_the_strength_that_the_network_uses():
    strong, weak = (outcome(mask=0.9, dataset="chest-xray", variant=f"tag strength {strength}") for strength in ("0.2", "0.05"))
    (target,) = targets(strong, long_of(strong), "DiET")
    assert (target.met, target.bound) == (True, 0.85)
    assert targets(weak, long_of(weak), "DiET") == ()


def test_shares_have_wilson_s_interval_and_means_student_s():
    one = outcome(agreement=0.9)
    summary = summarised(long_of(one))
    share = summary.row(by_predicate=(pl.col("kind") == "simplified") & (pl.col("measure") == "agreement, rounded masks"), named=True)
    wanted = Accuracy.of(144, COUNT)
    assert (share["mean"], share["low"], share["high"], share["count"]) == (wanted.value, wanted.low, wanted.high, COUNT)
    mean = summary.row(by_predicate=(pl.col("attribution") == MASK) & (pl.col("measure") == "IoU"), named=True)
    assert mean["mean"] == pytest.approx(0.7)
    standard = float(np.std(spread(0.7).numpy()) / np.sqrt(COUNT))
    assert mean["high"] - mean["low"] == pytest.approx(2 * 1.96 * standard, rel=0.1)


def test_values_that_are_not_there_are_left_out():
    scored = Scored("test", "DiET", MASK, "maps", torch.arange(3), {"IoU": torch.tensor([0.5, torch.nan, 0.7])})
    row = summarised(scored.frame().select(pl.lit("v").alias("variant"), pl.all())).row(0, named=True)
    assert row["mean"] == pytest.approx(0.6)
    assert row["count"] == 2
