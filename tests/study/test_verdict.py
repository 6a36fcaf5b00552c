import math

import numpy as np
import polars as pl
import pytest

from assay.report.page import Sentence
from assay.study.audit.answers import Answers
from assay.study.audit.questions.held import QUESTIONS
from assay.study.audit.statistics import BETTER, NEITHER
from assay.study.audit.verdict import verdict

CATEGORIES = {"Deletion": "faithfulness", "Insertion": "faithfulness", "MaskIoU": "localisation", "MaxSensitivity": "robustness"}
UP = {"Insertion", "MaskIoU"}
YES, NO, OPEN = (True, 0.001), (False, 0.8), (None, math.nan)
UNSURE = (None, 0.2)


def answers(held, alive=("Deletion",), **more):
    """Answers in which each explainer's four questions are YES, NO, UNSURE or OPEN by every measure."""
    rows = [
        {
            "explainer": name,
            "question": question,
            "measure": measure,
            "difference": 0.1 if holds else 0.0,
            "low": 0.0,
            "high": 0.2 if holds else 0.0,
            "effect": 1.0,
        }
        | {"holds": holds, "p": p}
        for name, four in held.items()
        for question, (holds, p) in zip(QUESTIONS, four, strict=True)
        for measure in alive
    ]
    table = pl.DataFrame(rows, schema_overrides={"holds": pl.Boolean, "p": pl.Float64})
    return Answers(table, **({"alive": tuple(alive), "faithful": ("Deletion", "Insertion"), "images": 50, "tests": len(rows)} | more))


def told(held, images=100, rows=None, **more):
    """Tones and texts for rows of (explainer, measure, mean, verdict)."""
    found = answers(held, **more.pop("how", {}))
    rows = rows or [(name, "Deletion", 0.1, BETTER) for name in held]
    lines = [dict(zip(("explainer", "measure", "mean", "verdict"), row, strict=True)) for row in rows]
    facts = {"low": 0.1, "high": 0.9, "floor": 0.2, "floor_low": 0.1, "floor_high": 0.3, "count": images}
    table = pl.DataFrame([line | facts | known(line["measure"]) for line in lines])
    return [(one.tone, one.text) for one in verdict(table, images, found, **more)]


def known(measure):
    """What the columns of a table say of a measure."""
    return {"higher_is_better": measure in UP, "kind": CATEGORIES[measure], "statistic": measure}


def test_an_explainer_that_is_not_of_the_model_is_told_in_these_words():
    found = told({"Contrast": (YES, YES, NO, NO)})
    assert found[0] == ("bad", "None of these explainers is shown to be trustworthy here.")
    assert found[1][0] == "bad"
    assert found[1][1].startswith(
        "Contrast: it says where, and in this image, but hardly changes when the model's weights are random: it does not explain this model"
    )


def test_a_map_that_changes_with_the_weights_and_is_no_better_for_it_is_told_so():
    held = answers({"A": (YES, YES, NO, YES)})
    moved = Answers(held.table.with_columns(difference=pl.lit(-0.1)), alive=held.alive, faithful=held.faithful, images=50)
    facts = {"mean": 0.1, "low": 0.1, "high": 0.1, "floor": 0.2, "verdict": BETTER}
    summary = pl.DataFrame([{"explainer": "A", "measure": "Deletion"} | facts | known("Deletion")])
    told_of = verdict(summary, 100, moved)
    words = "it beats its map of the model with random weights by less than counts, if at all: it does not explain this model"
    assert words in told_of[1].text


@pytest.mark.parametrize(
    ("four", "words"),
    [
        ((NO, YES, YES, YES), "it does not say where"),
        ((YES, NO, YES, YES), "it does not explain this image"),
        ((YES, YES, YES, NO), "the image alone does as well: it says no more than that"),
    ],
)
def test_each_question_that_fails_has_its_words(four, words):
    assert words in told({"A": four})[1][1]


@pytest.mark.parametrize(
    ("question", "words"), [(0, "does not say where"), (1, "does not explain this image"), (3, "says no more than that")]
)
def test_what_may_yet_be_better_than_its_null_is_not_said_to_be_no_better(question, words):
    four = [YES] * 4
    four[question] = NO
    held = answers({"A": tuple(four)})
    open_ended = Answers(held.table.with_columns(high=pl.lit(0.2)), alive=held.alive, faithful=held.faithful, images=50)
    summary = pl.DataFrame([{"explainer": "A", "measure": "Deletion", "mean": 0.1, "low": 0.1, "high": 0.1} | known("Deletion")])
    summary = summary.with_columns(floor=pl.lit(0.2), verdict=pl.lit(BETTER))
    text = verdict(summary, 100, open_ended)[1].text
    assert f"by less than counts, if at all: it {words}" in text
    assert "does as well" not in text


def test_what_fails_one_question_and_leaves_another_undecided_is_told_of_both():
    tone, text = told({"A": (YES, NO, UNSURE, YES)}, how={"needed": {"A": 120}})[1]
    assert tone == "bad"
    assert text == (
        "A: it says where, and more than the image alone shows, but its map of another image does as well: it does not explain this image; "
        "undecided with 50 images, about 120 would do: whether it is of this model."
    )


def test_what_is_undecided_is_never_good_and_says_how_many_images_would_do():
    found = told({"A": (YES, UNSURE, YES, YES)}, how={"needed": {"A": 120}})
    assert all(tone != "good" for tone, _ in found)
    assert "undecided with 50 images, about 120 would do: whether it is of this image" in found[1][1]


def test_what_could_not_be_asked_stays_open_by_name():
    found = told({"A": (YES, YES, OPEN, YES)})
    assert "open, since there is nothing to hold it against: whether it is of this model" in found[1][1]
    assert all(tone != "good" for tone, _ in found)


def test_the_recommended_and_the_trusted_come_first_with_where_they_stand():
    how = {"trusted": ("A", "B"), "recommended": "B", "standing": {("A", "Deletion"): 0.4, ("B", "Deletion"): 0.9}}
    found = told({"A": (YES, YES, YES, YES), "B": (YES, YES, YES, YES)}, how=how)
    assert found[0][0] == "good"
    assert found[0][1].startswith(
        "Use B here: of what is trusted it stands highest on one half of the images, and it passes every question on the other half alone;"
    )
    assert "0.90 by Deletion" in found[0][1]
    assert found[1] == ("good", "Trusted: A and B. They say where, in this image, of this model, and more than the image alone shows.")


def test_where_nothing_is_confirmed_nothing_is_recommended():
    found = told({"A": (YES, YES, YES, YES)}, how={"trusted": ("A",)})
    assert found[0][0] == "caution"
    assert "No recommendation" in found[0][1]


def test_a_control_that_does_better_by_one_measure_is_told_beside_the_trusted():
    how = {"alive": ("Deletion", "MaskIoU"), "trusted": ("A",)}
    held = answers({"A": (YES, YES, YES, YES)}, alive=("Deletion", "MaskIoU"))
    table = held.table.with_columns(
        holds=pl.when((pl.col("measure") == "MaskIoU") & (pl.col("question") == QUESTIONS[-1])).then(False).otherwise(pl.col("holds"))
    )
    assert Answers(table, alive=how["alive"], faithful=("Deletion",)).status("A", QUESTIONS[-1]) == "passes"
    facts = {"mean": 0.1, "low": 0.1, "high": 0.1, "floor": 0.2, "verdict": BETTER}
    summary = pl.DataFrame([{"explainer": "A", "measure": "Deletion"} | facts | known("Deletion")])
    found = verdict(summary, 100, Answers(table, faithful=("Deletion",), **how))
    assert "(not shown, though, of A by MaskIoU)" in found[1].text


def test_silent_measures_and_saturated_images_are_named():
    found = told({"A": (YES, YES, YES, YES)}, how={"silent": ("Insertion",), "saturated": {"Deletion": 7}})
    assert any(tone == "caution" and text.startswith("Insertion tells nothing on these images") for tone, text in found)
    assert any("7 of 50 by Deletion" in text for _, text in found)


def test_measures_that_are_blind_to_signs_trust_nobody():
    found = told({"A": (YES, YES, YES, YES)}, how={"blind": ("Deletion",)})
    assert any("would not notice a map whose signs are flipped" in text for _, text in found)


def test_too_few_images_to_tell_whether_measures_are_alive_decide_nothing():
    summary = pl.DataFrame(
        [{"explainer": "A", "measure": "Deletion", "mean": 0.1, "low": 0.1, "high": 0.1, "verdict": ""} | known("Deletion")]
    )
    held = Answers(answers({"A": (UNSURE,) * 4}).table, images=3)
    found = [(one.tone, one.text) for one in verdict(summary, 3, held)]
    assert any("3 images cannot show whether the measures tell anything here" in text for _, text in found)


def test_what_must_be_known_of_the_model_stands_first_and_no_good_news_beside_untrusted_explainers():
    rows = [("A", "MaxSensitivity", 0.1, BETTER)]
    found = told({"A": (YES, YES, YES, YES)}, rows=rows, model=[Sentence("bad", "It guesses.")])
    assert found[0] == ("bad", "It guesses.")
    assert all(tone != "good" for tone, _ in found)
    assert any("is not shown to change any explainer's maps by more, or by less, than half" in text for _, text in found)


def test_what_is_left_to_choose_from_is_told_with_what_the_others_lose_to():
    names = ("A", "B", "C")
    how = {"trusted": names, "standing": {("A", "Deletion"): 0.9, ("B", "Deletion"): 0.8, ("C", "Deletion"): 0.7}}
    rows = [("A", "MaxSensitivity", 0.3, BETTER), ("B", "MaxSensitivity", 0.4, BETTER), ("C", "MaxSensitivity", 0.1, BETTER)]
    found = told(dict.fromkeys(names, (YES,) * 4), rows=rows, how=how, costs={"A": 30.0, "B": 30.0, "C": 100.0})
    (text,) = [text for _, text in found if text.startswith("Left to choose from")]
    assert text == (
        "Left to choose from by means of faithfulness, robustness (by MaxSensitivity) and cost: A (stands at 0.90, MaxSensitivity 0.30, "
        "30 passes); C (stands at 0.70, MaxSensitivity 0.10, 100 passes). Dropped: B, which is better than A in none of them."
    )
    assert not any(text.startswith("Left") for _, text in told({"A": (YES,) * 4}, how={"trusted": ("A",)}))


@pytest.mark.parametrize(("overlap", "tone", "words"), [(0.8, "note", "agree with each other"), (0.2, "caution", "disagree")])
def test_whether_the_trusted_agree_is_told_with_the_images_on_which_they_do_not(overlap, tone, words):
    shares = np.array([overlap, overlap / 2, overlap])
    alike = pl.DataFrame({"image": [4, 5, 6], "first": "A", "second": "B", "spearman": 0.3, "overlap": shares})
    how = {"trusted": ("A", "B"), "recommended": None}
    found = told({"A": (YES,) * 4, "B": (YES,) * 4}, how=how, alike=alike)
    (text,) = [text for own, text in found if own == tone and words in text]
    assert ("do so most are 5, 4 and 6" in text) == (tone == "caution")


def test_the_best_by_known_evidence_are_named_with_those_not_shown_to_be_worse_and_those_that_fail():
    rows = [("A", "MaskIoU", 0.3, BETTER), ("B", "MaskIoU", 0.6, BETTER), ("C", "MaskIoU", 0.2, NEITHER)]
    found = told({"A": (YES,) * 4}, rows=rows, how={"best": {"MaskIoU": ("A", "B")}})
    (text,) = [text for _, text in found if "known evidence, by" in text]
    assert text == (
        "Against known evidence, by MaskIoU, B agrees best: 0.60 (0.10 to 0.90), a random map 0.20. Not shown to be worse: A. "
        "Not shown to be better than random: C."
    )


def test_unstable_maps_are_named_with_how_much_they_change():
    found = told({"A": (YES,) * 4}, rows=[("A", "MaxSensitivity", 0.51, BETTER), ("B", "MaxSensitivity", 0.5, BETTER)])
    (text,) = [text for tone, text in found if tone == "caution" and "Unstable" in text]
    assert "A (51%)" in text
    assert "B" not in text


@pytest.mark.parametrize(("images", "text"), [(1, "Only 1 image was scored"), (29, "Only 29 images were scored")])
def test_few_images_are_a_caution(images, text):
    assert text in told({"A": (YES,) * 4}, images)[-1][1]
    assert not any("scored: intervals" in text for _, text in told({"A": (YES,) * 4}, 30))


def test_an_explainer_is_fragile_when_the_attack_takes_more_than_noise():
    def line(explainer, measure, low, high):
        statistic = "similarity after noise" if measure == noise else "attacked similarity"
        more = {
            "kind": "robustness",
            "statistic": statistic,
            "higher_is_better": True,
            "floor": 0.1,
            "floor_low": 0.1,
            "floor_high": 0.1,
            "verdict": BETTER,
            "count": 100,
        }
        return {"explainer": explainer, "measure": measure, "mean": (low + high) / 2, "low": low, "high": high} | more

    attack, noise = "AttackedSimilarity(attack=MapAttack(steps=9))", "AttackedSimilarity(attack=NoiseMapAttack)"
    rows = [line("Weak", attack, 0.0, 0.2), line("Weak", noise, 0.6, 0.8), line("Firm", attack, 0.5, 0.7), line("Firm", noise, 0.6, 0.8)]
    trusted = answers({"Weak": (YES,) * 4, "Firm": (YES,) * 4}, trusted=("Firm",))
    text = "Fragile: attacks that keep the prediction take more than noise of their size of the maps of Weak (10% left)."
    assert ("bad", text) in [(one.tone, one.text) for one in verdict(pl.DataFrame(rows), 100, trusted)]
    firm = verdict(pl.DataFrame(rows[2:]), 100, trusted)
    assert [one.tone for one in firm if one.text.startswith("No attack is shown to take more")] == ["note"]
