import math

import polars as pl
import pytest

from assay.report.page import MeasureNote
from assay.study.statistics import BETTER, NEITHER, WORSE
from assay.study.verdict import verdict

CATEGORIES = {"Deletion": "faithfulness", "Insertion": "faithfulness", "MaskIoU": "localisation", "MaxSensitivity": "robustness"}
UP = {"Insertion", "MaskIoU"}


def judged(rows, images=100):
    """Sentences for rows of (explainer, measure, mean, verdict)."""
    columns = "explainer", "measure", "mean", "verdict"
    lines = [dict(zip(columns, row, strict=True)) for row in rows]
    more = {"low": 0.1, "high": 0.9, "floor": 0.2, "floor_low": 0.1, "floor_high": 0.3, "count": images}
    table = pl.DataFrame([line | more | {"higher_is_better": line["measure"] in UP} for line in lines])
    notes = {name: MeasureNote(CATEGORIES[name], "", "", "") for name in table["measure"].unique()}
    return verdict(table, notes, images)


def told(rows, images=100):
    return [(one.tone, one.text) for one in judged(rows, images)]


def test_each_explainer_is_trustworthy_doubtful_or_not():
    rows = [
        *(("Good", name, 0.1, BETTER) for name in ("Deletion", "Insertion")),
        *(("Also", name, 0.1, BETTER) for name in ("Deletion", "Insertion")),
        ("Half", "Deletion", 0.5, BETTER),
        ("Half", "Insertion", 0.05, WORSE),
        *(("Bad", name, 0.05, NEITHER) for name in ("Deletion", "Insertion")),
    ]
    found = dict(told(rows)[:3])
    assert found["good"].startswith("Trustworthy by all 2 faithfulness measures: Good and Also tell more")
    assert found["caution"] == "Doubtful: Half (not by Insertion) beats a random map only on some of the 2 faithfulness measures."
    assert found["bad"] == "Not trustworthy: Bad beats a random map on none of the 2 faithfulness measures."


def test_a_single_measure_and_a_single_explainer_read_well():
    (sentence,) = told([("A", "Deletion", 0.1, BETTER)])
    expected = "Trustworthy by the one faithfulness measure (Deletion): A tells more about the model than a random map does."
    assert sentence == ("good", expected)


@pytest.mark.parametrize("verdicts", [("", ""), ("", NEITHER)])
def test_what_was_not_judged_is_never_called_trustworthy(verdicts):
    rows = [("A", name, math.nan, one) for name, one in zip(("Deletion", "Insertion"), verdicts, strict=True)]
    assert all(tone != "good" for tone, _ in told(rows))


def test_the_best_by_known_evidence_is_named_with_those_that_fail():
    found = told([("A", "MaskIoU", 0.3, BETTER), ("B", "MaskIoU", 0.6, BETTER), ("C", "MaskIoU", 0.2, NEITHER)])
    assert found[0][0] == "good"
    assert "B agrees best: overlap 0.60 (0.10 to 0.90), a random map 0.20. No better than random: C." in found[0][1]


def test_evidence_that_nobody_meets_is_bad_news():
    assert told([("A", "MaskIoU", 0.2, WORSE)])[0][0] == "bad"


def test_evidence_is_passed_over_where_there_is_none():
    assert told([("A", "MaskIoU", math.nan, "")]) == []


def test_unstable_maps_are_named_with_how_much_they_change():
    found = told([("A", "MaxSensitivity", 0.51, BETTER), ("B", "MaxSensitivity", 0.5, BETTER)])
    assert found == [("caution", found[0][1])]
    assert "A (51%)" in found[0][1]
    assert "B" not in found[0][1]


def test_stable_maps_are_good_news_and_unmeasured_ones_none():
    assert told([("A", "MaxSensitivity", 0.1, BETTER)])[0][0] == "good"
    assert told([("A", "MaxSensitivity", math.nan, "")]) == []


def test_measures_that_disagree_on_the_best_explainer_are_told():
    rows = [
        ("A", "Deletion", 0.1, BETTER),
        ("B", "Deletion", 0.2, BETTER),
        ("A", "Insertion", 0.3, BETTER),
        ("B", "Insertion", 0.4, BETTER),
    ]
    assert told(rows)[-1] == (
        "note",
        "Faithfulness has more than one meaning; of the explainers that beat a random map, the best is A by Deletion and B by Insertion.",
    )
    assert all(tone != "note" for tone, _ in told(rows[:2]))


@pytest.mark.parametrize(("images", "text"), [(1, "Only 1 image was scored"), (29, "Only 29 images were scored")])
def test_few_images_are_a_caution(images, text):
    assert text in told([("A", "Deletion", 0.1, BETTER)], images)[-1][1]
    assert len(told([("A", "Deletion", 0.1, BETTER)], 30)) == 1


def test_an_explainer_is_fragile_when_the_attack_takes_more_than_noise():
    def line(explainer, measure, low, high):
        more = {"higher_is_better": True, "floor": 0.1, "floor_low": 0.1, "floor_high": 0.1, "verdict": BETTER, "count": 100}
        return {"explainer": explainer, "measure": measure, "mean": (low + high) / 2, "low": low, "high": high} | more

    attack, noise = "AttackedSimilarity(attack=MapAttack(steps=9))", "AttackedSimilarity(attack=NoiseMapAttack)"
    rows = [line("Weak", attack, 0.0, 0.2), line("Weak", noise, 0.6, 0.8), line("Firm", attack, 0.5, 0.7), line("Firm", noise, 0.6, 0.8)]
    notes = {name: MeasureNote("robustness", "", "", "") for name in (attack, noise)}
    text = "Fragile: attacks that keep the prediction take more than noise of their size of the maps of Weak (10% left)."
    assert [(one.tone, one.text) for one in verdict(pl.DataFrame(rows), notes, 100)] == [("bad", text)]
    firm = verdict(pl.DataFrame(rows[2:]), notes, 100)
    assert [one.tone for one in firm] == ["good"]
