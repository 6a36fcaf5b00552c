"""The verdict's words against values that were made up for them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

import assay
from assay.papers.diet.evaluation import BASELINE, IOU, MASK, PLAIN_MASK, WIDE, refined
from assay.papers.diet.tables import _costs, interval, values
from assay.papers.diet.verdict import DIET_RULES, compared, diet_verdict
from assay.papers.diet.work import Found

COUNT = 160
METHODS = ("DiET", "theirs")


def spread(mean, width=0.05, seed=0):
    return mean + width * np.random.default_rng(seed).standard_normal(COUNT)


def hits(share):
    return (np.arange(COUNT) < round(share * COUNT)).astype(float)


def kind(measure):
    """What a study says a value of this name is."""
    known = {IOU: "overlap", "kept": "kept", "accuracy": "whole", "agreement": "whole", "L1": "distance"}
    return "background" if measure.startswith("before ") else known.get(measure, "erased")


def frame(model, attribution, measure, each, seed=0, part="test"):
    columns = {"part": part, "model": model, "seed": seed}
    finer = attribution.endswith(refined(""))
    named = {"attribution": attribution, "maker": MASK if attribution == PLAIN_MASK else attribution.removesuffix(refined(""))}
    named |= {"finer": finer, "measure": measure, "kind": kind(measure), "background": measure.removeprefix("before ")}
    return pl.DataFrame({"image": np.arange(COUNT), "value": each}).select(
        *(pl.lit(value).alias(name) for name, value in columns.items()),
        "image",
        *(pl.lit(value).alias(name) for name, value in named.items()),
        "value",
    )


def found(
    mask=0.9,
    fine=0.95,
    rivals=None,
    agreement=1.0,
    wide=0.9625,
    accuracy=0.98,
    control=0.1,
    background=1.0,
    reversed_=None,
    seeds=2,
    theirs=0.5,
    edges=False,
    kept=0.05,
    base=0.6,
):
    rivals = {"Lime()": 0.6, "KernelShap()": 0.7} if rivals is None else rivals
    rows = [frame(BASELINE, "", "accuracy", hits(0.98))]
    if reversed_ is not None:
        rows.append(frame(BASELINE, "", "accuracy", hits(reversed_), part="reversed"))
    for number, (name, mean) in enumerate(rivals.items()):
        rows.append(frame(BASELINE, name, IOU, spread(mean, seed=number + 9)))
        rows.append(frame(BASELINE, refined(name), IOU, spread(mean + 0.1, seed=number + 19)))
    for method in METHODS:
        for seed in range(seeds):
            own = mask if method == "DiET" else theirs
            rows += [
                frame(method, "", "accuracy", hits(accuracy), seed),
                frame(method, MASK, IOU, spread(own, seed=seed), seed),
                frame(method, PLAIN_MASK if edges else refined(MASK), IOU, spread(fine, seed=seed), seed),
                frame(method, MASK, "agreement, rounded masks", hits(agreement), seed),
                frame(method, MASK, f"agreement, rounded masks, {WIDE}", hits(wide), seed),
                frame(method, MASK, "kept", spread(kept, 0.001), seed),
                frame(method, MASK, "before Blur", hits(background), seed),
                frame(method, MASK, "before OtherImages", hits(0.2), seed),
                frame(method, MASK, "before RandomColour", hits(0.2), seed),
                frame(method, "mask, f_b", "before Blur", hits(base), seed),
                frame(method, "another image's mask", "before Blur", hits(control), seed),
            ]
    costs = [{"model": BASELINE, "seed": 0, "attribution": name, "images": COUNT, "seconds": 1.0, "passes": 102 * COUNT} for name in rivals]
    costs += [
        {"model": method, "seed": seed, "attribution": MASK, "images": COUNT, "seconds": 1.0, "passes": 120 * COUNT}
        for method in METHODS
        for seed in range(seeds)
    ]
    outcome = SimpleNamespace(passes=1000, diet=assay.DiET(edges=edges))
    return Found(
        variant="v",
        tried=dict.fromkeys(METHODS, (outcome, outcome)),
        best=dict.fromkeys(METHODS, 0),
        finals=dict.fromkeys(METHODS, (outcome,) * seeds),
        long=pl.concat(rows),
        costs=pl.DataFrame(costs),
        most_frequent=0.15,
        maps={},
        tune=(torch.zeros(1), None),
        test=None,
        data={"test": None} | ({} if reversed_ is None else {"reversed": None}),
        unread=(),
        trained="train",
    )


def said(one):
    return [(sentence.tone, sentence.text) for sentence in diet_verdict([one])]


def about(one, words):
    (sentence,) = (pair for pair in said(one) if words in pair[1])
    return sentence


def test_masks_better_than_each_rival_are_said_to_be():
    tone, text = about(found(), "DiET's masks overlap")
    assert tone == "good"
    assert "better located than every one of 2 maps" in text
    assert "at 120 passes an image" in text
    tone, text = about(found(), "DiET's masks, refined, overlap")
    assert tone == "good"
    assert "every one of 4 maps" in text


def test_masks_that_their_recipe_draws_along_edges_are_held_against_refined_maps_and_without_that_step_against_maps_as_they_are():
    one = found(mask=0.72, fine=0.85, edges=True)
    tone, text = about(one, "DiET's masks overlap")
    assert tone == "bad"
    assert "KernelShap(), refined" in text
    tone, text = about(one, "DiET's masks, before they are drawn along the images' edges, overlap")
    assert tone == "good"
    assert "every one of 2 maps" in text


def test_a_rival_that_is_better_located_is_named_with_its_price_and_nothing_is_said_of_every_map():
    one = found(mask=0.8, rivals={"Lime()": 0.7, "KernelShap()": 0.86})
    tone, text = about(one, "DiET's masks overlap")
    assert tone == "bad"
    assert "better located than the masks is KernelShap() (" in text
    assert "more, 102 passes)" in text
    assert "every one" not in text


def test_every_rival_is_checked_not_only_the_one_with_the_nearest_mean():
    # Case 64: a rival of a lower mean whose differences vary so much that it is not shown to be worse.
    mask = 0.6 + 0.02 * np.random.default_rng(1).normal(size=28)
    near = mask - 0.05 + 0.005 * np.random.default_rng(2).normal(size=28)
    wide = mask - 0.06 + 0.35 * np.random.default_rng(3).normal(size=28)
    wide += (mask - 0.06).mean() - wide.mean()
    held = {one.rival: one for one in compared(mask, {"Gradient()": near, "Lime()": wide})}
    assert held["Gradient()"].better
    assert not held["Lime()"].better
    assert held["Lime()"].difference.low < 0 < held["Lime()"].difference.high


def test_more_rivals_ask_for_more_by_holm():
    mask = spread(0.5)
    away = np.random.default_rng(5).standard_normal(COUNT)
    gap = mask - 0.01 + 0.05 * (away - away.mean())
    alone = compared(mask, {"one": gap})[0]
    among = compared(mask, {"one": gap, **{f"other {n}": gap + 1e-4 * n for n in range(1, 12)}})[0]
    assert alone.better
    assert not among.better
    assert among.difference.low < alone.difference.low


@pytest.mark.parametrize(
    ("agreement", "tone", "words"),
    [(1.0, "good", "stand in"), (0.98, "caution", "not shown by the interval's lower"), (0.9, "caution", "not the baseline's equal")],
)
def test_97_percent_is_asked_of_the_lower_end(agreement, tone, words):
    found_, text = about(found(agreement=agreement), "DiET's model gives the baseline's class")
    assert found_ == tone
    assert words in text
    assert "on the worst of 2 seeds" in text
    assert "for 96.2% before colours as wide as it was tuned with" in text
    assert "keep 5.0% of them" in text


def test_masks_that_keep_nearly_all_earn_no_good_word_of_the_model():
    """Masks that leave nothing out agree by themselves, of a model that nobody tuned too."""
    tone, text = about(found(kept=0.95), "DiET's model gives the baseline's class")
    assert (tone, "tells nothing of them" in text) == ("caution", True)
    assert about(found(kept=0.85), "DiET's model gives the baseline's class")[0] == "good"


def test_what_holds_before_other_backgrounds_is_the_tunings_only_where_the_baseline_does_worse_there():
    tone, text = about(found(base=1.0), "worst of the others")
    assert (tone, "may hold there without the tuning" in text) == ("note", True)
    assert "carries over" not in text
    assert about(found(base=0.9), "worst of the others")[0] == "good"


def test_a_tuned_model_of_lower_accuracy_is_not_the_baseline():
    assert about(found(accuracy=0.9), "DiET's model gives")[0] == "caution"


def test_the_other_recipe_is_judged_by_the_same_rules_and_beside_the_first():
    one = found(theirs=0.2)
    assert about(one, "theirs's masks overlap")[0] == "bad"
    tone, text = about(one, "each with the best of 2 settings")
    assert tone == "note"
    assert "1,000 and 1,000 passes a tuning" in text
    assert "not shown to be a" in about(found(theirs=0.9), "each with the best of")[1]


def test_backgrounds_controls_and_signals_have_their_words():
    assert about(found(), "worst of the others")[0] == "good"
    tone, text = about(found(background=0.9), "worst of the others")
    assert (tone, "not shown by so many images" in text) == ("caution", True)
    tone, text = about(found(background=0.7), "worst of the others")
    assert (tone, "does not carry over" in text) == ("caution", True)
    assert "Blur" in about(found(), "worst of the others")[1]  # not other images, with evidence of their own, nor what was tuned with
    assert about(found(), "Left with")[0] == "good"
    assert about(found(control=0.4), "Left with")[0] == "caution"
    tone, text = about(found(control=0.14), "Left with")
    assert (tone, "not shown, nor ruled out" in text) == ("caution", True)
    assert about(found(reversed_=0.3), "signal is on the other class")[0] == "note"
    assert about(found(reversed_=0.95), "signal is on the other class")[0] == "caution"


def test_nothing_is_said_of_other_backgrounds_where_none_was_tried():
    one = found()
    alone = replace(one, long=one.long.filter(~pl.col("measure").is_in(["before Blur", "before OtherImages"])))
    assert not [text for _, text in said(alone) if "worst of the others" in text]


def test_shares_of_one_seed_have_wilson_s_interval_and_means_over_seeds_student_s():
    from assay.stats.intervals import means, share

    one = values(found().long, model="DiET", attribution=MASK, measure="agreement, rounded masks")
    assert interval(one.filter(pl.col("seed") == 0)) == share(COUNT, COUNT)
    overlap = values(found().long, model="DiET", attribution=MASK, measure=IOU)
    both = (spread(0.9, seed=0) + spread(0.9, seed=1)) / 2
    assert interval(overlap).low == pytest.approx(means(both[:, None])[0].low)


def test_the_rules_say_what_is_done():
    for words in ("97%", "lower end", "Holm", "every map is said only where", "2 points"):
        assert words in DIET_RULES


def test_costs_of_maps_made_in_several_blocks_are_told_for_all_images_together():
    one = found()
    halves = one.costs.with_columns(pl.col("images", "passes") // 2)
    outcome = SimpleNamespace(passes=1000, diet=assay.DiET(), seconds=6.0)
    split = replace(
        one, costs=pl.concat([halves, halves]), tried=dict.fromkeys(METHODS, (outcome,)), finals=dict.fromkeys(METHODS, (outcome,))
    )
    lines = {row["what"]: row["passes"] for row in _costs([split], {}).frame.iter_rows(named=True)}
    assert lines[f"{BASELINE}: Lime() of {COUNT} images"] == 102 * COUNT
    assert lines[f"DiET: {MASK} of {COUNT} images"] == 120 * COUNT
