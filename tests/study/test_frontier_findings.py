import numpy as np
import polars as pl
import pytest

from assay.study.frontier.findings import frontier_sentences, frontier_summary, frontier_trends

WIDTHS = (0.0, 0.01, 0.03, 0.1)
KINDS = {"robust": ("robustness", True), "error": ("faithfulness", False), "area": ("faithfulness", True)}


def table(robust, error, area=(0.5,) * 4, images=60, spread=0.02):
    """The long table of one explainer whose quantities have these means, images differing by an offset and by noise."""
    noise = np.random.default_rng(0)
    rows = []
    for image in range(images):
        offset = noise.normal(0, 0.05)
        for at, width in enumerate(WIDTHS):
            for (name, (kind, up)), means in zip(KINDS.items(), (robust, error, area), strict=True):
                rows.append((image, "Gradient", f"kernel {width}", width, name, means[at] + offset + noise.normal(0, spread), kind, up))
    names = ["image", "explainer", "kernel", "width", "quantity", "value", "kind", "higher_is_better"]
    return pl.DataFrame(rows, schema=names, orient="row")


def told(found):
    return list(frontier_sentences(found, frontier_summary(found, 0), frontier_trends(found), "robust", 0))


def outcomes(found, name):
    return frontier_summary(found, 0).filter(pl.col("quantity") == name)["outcome"].to_list()


RISES = (0.3, 0.4, 0.55, 0.8)


def test_the_notion_that_pays_and_the_one_that_gains_are_named_with_what_it_costs():
    found = table(RISES, (0.2, 0.2, 0.3, 0.5), (0.3, 0.35, 0.4, 0.45))
    first, error, area = told(found)
    assert (first.tone, error.tone, area.tone) == ("good", "caution", "good")
    assert first.text.startswith("Gradient: smoothing makes its maps more robust, at a cost by error; with a gain by area. ")
    assert "Gradient by error: at a cost: 2.5 times the value at width 0" in error.text
    assert "free at 0.01, costs at 0.03 and 0.1" in error.text
    assert "Gradient by area: gains" in area.text


def test_a_smaller_cost_is_told_as_a_share():
    assert "% worse (" in told(table(RISES, (0.2, 0.2, 0.22, 0.3)))[1].text


def test_a_notion_that_does_not_move_is_free():
    found = table(RISES, (0.5,) * 4, spread=0.01)
    assert outcomes(found, "error") == ["", "free", "free", "free"]
    assert "Gradient by error: free" in told(found)[1].text
    assert "more robust, free by error, area. " in told(found)[0].text


def test_few_noisy_images_leave_it_undecided():
    found = table(RISES, (0.2,) * 4, images=8, spread=0.2)
    last = told(found)
    assert "undecided" in outcomes(found, "error")
    assert "8 images only" in last[-1].text


def test_without_more_robustness_there_is_no_gain_and_costs_are_told_as_such():
    first, error, _ = told(table((0.5,) * 4, (0.2, 0.25, 0.3, 0.4)))
    assert first.tone == "bad"
    assert "no gain" in first.text
    assert "for no gain" in error.text


def test_a_notion_that_turns_is_undecided_as_a_whole_and_told_width_by_width():
    text = told(table(RISES, (0.3, 0.38, 0.22, 0.36), spread=0.1))[1].text
    assert "Gradient by error: undecided" in text
    assert "costs at 0.01 and 0.1, gains at 0.03" in text


def test_changes_are_paired_and_positive_where_better():
    found = table(RISES, (0.2, 0.2, 0.3, 0.5))
    summary = frontier_summary(found, 0)
    error = summary.filter((pl.col("quantity") == "error") & (pl.col("width") == 0.1)).row(0, named=True)
    wide = found.filter(pl.col("quantity") == "error").pivot(on="width", index="image", values="value")
    assert error["change"] == pytest.approx(-(wide["0.1"] - wide["0.0"]).mean())
    assert error["loss"] == pytest.approx(-error["change"] / wide["0.0"].mean())
    assert error["change_low"] < error["change"] < error["change_high"] < 0
    assert error["high"] - error["low"] > error["change_high"] - error["change_low"]


def test_trends_point_to_what_is_better_and_are_corrected_for_their_number():
    trends = frontier_trends(table(RISES, (0.2, 0.25, 0.3, 0.5)))
    assert trends["trend"].to_list() == ["better", "worse", "none"]
    assert (trends["p_holm"] >= trends["p"]).all()
