from collections import Counter
from dataclasses import replace

import polars as pl
import pytest
import torch

import assay
from assay.models.labels import match
from assay.report import Gallery
from assay.report.page import Sentence
from assay.report.summary import MeasureNote
from assay.study.audit.answers import Answers
from assay.study.audit.questions.held import QUESTIONS
from assay.study.audit.screen import Judged, screen
from assay.study.audit.shown import TYPICAL, WRONG
from assay.study.tally import Tally
from reference.specs import SMALL

NOTES = {
    "Deletion": MeasureNote("faithfulness", "", "", ""),
    "MaskIoU": MeasureNote("localisation", "", "How the map meets the evidence.", ""),
}
LABELS = match(("cat", "dog"), ("cat", "dog"))


def summary(*explainers):
    rows = [{"explainer": name, "measure": measure, "mean": 0.5, "floor": 0.125} for name in explainers for measure in NOTES]
    return pl.DataFrame(rows)


def told(holds, trusted=(), recommended=None, **more):
    """Answers of one measure; `holds` gives each explainer's four answers."""
    rows = [
        {
            "explainer": name,
            "question": q,
            "measure": "Deletion",
            "difference": 0.1,
            "low": 0.0,
            "high": 0.2,
            "effect": 1.0,
            "p": 0.1,
            "holds": one,
        }
        for name, answers in holds.items()
        for q, one in zip(QUESTIONS, answers, strict=True)
    ]
    return Answers(pl.DataFrame(rows), trusted, recommended, alive=("Deletion",), faithful=("Deletion",), images=40, **more)


def tally(pairs, images=40, troubled=0):
    return Tally(images, images, images - troubled, 0, Counter(pairs), [], troubled)


ALL, NONE = (True,) * 4, (False,) * 4


def test_the_recommended_explanation_is_named_without_its_parameters():
    found = told({"SmoothGrad(sigma=0.1)": ALL, "Lime": NONE}, ("SmoothGrad(sigma=0.1)",), "SmoothGrad(sigma=0.1)")
    use, _, _ = screen(Judged(summary("SmoothGrad(sigma=0.1)", "Lime"), NOTES, found, tally({(0, 0): 40}), LABELS, ()))
    assert use.tone == "good"
    assert use.answer.startswith("Use SmoothGrad. ")
    assert use.lines[1].startswith("Lime: shown that it does not say where")


def test_that_trusted_explanations_disagree_is_not_known_which_is_right():
    found = told({"Lime(samples=9)": ALL, "Gradient": ALL}, ("Lime(samples=9)", "Gradient"), "Gradient")
    alike = pl.DataFrame({"image": [0, 1], "first": ["Lime(samples=9)"] * 2, "second": ["Gradient"] * 2, "spearman": [0.0, 0.2]})
    for overlap, words in (
        (0.1, ["Which is right where those that pass differ: Lime and Gradient share 10% of their top tenth"]),
        (0.9, []),
    ):
        shares = alike.with_columns(overlap=pl.lit(overlap))
        use, _, unknown = screen(Judged(summary("Lime(samples=9)", "Gradient"), NOTES, found, tally({(0, 0): 40}), LABELS, (), shares))
        assert [one for one in unknown.lines if "differ" in one] == [f"{one} of the pixels" for one in words]
    start = "Use Gradient. Of the 2 that pass every question it scores highest on one half of the images"
    assert use.answer == f"{start}, and it passes them on the other half alone."


def test_by_which_measures_more_than_the_image_is_shown_is_told_where_not_all_show_it():
    found = told({"Lime": ALL}, ("Lime",), "Lime")
    other = found.table.with_columns(measure=pl.lit("SingleDeletion"), holds=pl.col("question") != QUESTIONS[-1])
    both = ("Deletion", "SingleDeletion")
    found = replace(found, table=pl.concat([found.table, other]), alive=both, faithful=both)
    use, _, _ = screen(Judged(summary("Lime"), NOTES, found, tally({(0, 0): 40}), LABELS, ()))
    assert use.lines[0].endswith("says more than the image alone (by Deletion; not shown by SingleDeletion)")


def test_where_none_is_trusted_nothing_reads_as_good_news():
    cards = screen(Judged(summary("Lime"), NOTES, told({"Lime": NONE}), tally({(0, 0): 40}), LABELS, ()))
    assert cards[0].tone == "bad"
    assert "Do not decide anything by these maps" in cards[0].answer
    assert "What it looks at is not known: no explanation here is trusted." in cards[1].lines
    assert all(one.tone != "good" for one in cards)


def test_failures_are_told_by_class_worst_share_first():
    counted = tally({(0, 0): 18, (0, 1): 2, (1, 1): 10, (1, 0): 10})
    _, model, _ = screen(Judged(summary("Lime"), NOTES, told({"Lime": ALL}, ("Lime",)), counted, LABELS, ()))
    assert model.answer.startswith("It is right on 28 of 40 labelled images")
    assert model.lines[:2] == (
        "Labelled dog: 10 of 20 wrong, most often taken for cat",
        "Labelled cat: 2 of 20 wrong, most often taken for dog",
    )
    assert "How the map meets the evidence. Lime 0.50; a random map 0.12 (by MaskIoU)" in model.lines


def test_a_model_that_is_not_sound_is_the_answer():
    bad = Sentence("bad", "The model looks untrained.")
    _, model, _ = screen(Judged(summary("Lime"), NOTES, told({"Lime": NONE}), tally({(0, 0): 36, (1, 0): 4}), LABELS, (bad,)))
    assert (model.tone, model.answer) == ("bad", "The model looks untrained.")
    assert model.lines == (
        "Labelled dog: 4 of 4 wrong, most often taken for cat",
        "What it looks at is not known: no explanation here is trusted.",
    )


def test_what_is_not_known_names_silent_measures_undecided_explainers_and_what_was_not_asked():
    found = told({"Lime": (True, None, True, True)}, silent=("Insertion",), needed={"Lime": 90})
    _, _, unknown = screen(Judged(summary("Lime"), {"Deletion": NOTES["Deletion"]}, found, tally({}, images=20, troubled=1), LABELS, ()))
    text = "\n".join(unknown.lines)
    for one in ("Insertion: cannot tell", "Lime is undecided; about 90 images", "Only 19 images", "--attack", "1 image could not be used"):
        assert one in text


def test_what_is_alike_not_known_is_said_in_one_line():
    weak = {"this image": ("MaskIoU", "Deletion"), "this model": ("MaskIoU", "Deletion"), "where": ("Insertion",)}
    half = (True, None, True, True)
    found = replace(told({"Lime": half, "Gradient": half}, needed={"Lime": 90, "Gradient": 90}), weak=weak)
    table = pl.concat([summary("Lime"), summary("Gradient")])
    _, _, unknown = screen(Judged(table, {"Deletion": NOTES["Deletion"]}, found, tally({}, images=40), LABELS, ()))
    assert "MaskIoU and Deletion: too weak here to tell whether a map is of this image or is of this model; not asked that" in unknown.lines
    assert "Insertion: too weak here to tell whether a map says where; not asked that" in unknown.lines
    assert "Lime and Gradient are undecided; about 90 images would decide them" in unknown.lines


@pytest.fixture(scope="module")
def found(model):
    images = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = model.predict(images)
    labels[[3, 7, 9]] = (labels[[3, 7, 9]] + 1) % 4
    options = {"explainers": ["Gradient", SMALL["Lime"]], "measures": [SMALL["Deletion"]], "labels": labels, "gallery": 6}
    return assay.audit(model, images, **options)


def test_the_gallery_begins_with_failures_the_surest_first_and_ends_with_typical_images(found):
    gallery = found.page.part(Gallery)
    wrong = [name for name, why in zip(gallery.names, gallery.why, strict=True) if why == WRONG]
    assert gallery.why[:3] == (WRONG,) * 3
    assert gallery.why[-1] == TYPICAL
    assert set(wrong) == {"image 3", "image 7", "image 9"}
    sure = gallery.probabilities[:3]
    assert list(sure) == sorted(sure, reverse=True)
    assert len(set(gallery.names)) == len(gallery.names) == 6


def test_an_image_explained_again_for_the_page_has_the_scores_of_the_table(found):
    gallery = found.page.part(Gallery)
    for at, name in enumerate(gallery.names):
        own = found.scores.filter((pl.col("image") == int(name.split()[1])) & (pl.col("explainer") == "Gradient"))
        assert gallery.scores["Gradient"]["Deletion"][at] == pytest.approx(own["value"].item(), abs=1e-5)


def test_the_report_opens_with_the_three_answers(found):
    assert [one.question.split()[0] for one in found.page.cards] == ["Which", "What", "What"]
