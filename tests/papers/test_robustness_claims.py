"""Every line of "printed in the paper, measured here, agrees?" on values that are made to agree, to disagree, and to say nothing."""

import numpy as np
import polars as pl
import pytest

from assay.core.registry import short
from assay.papers.robustness.cells import distinct_cells, widths
from assay.papers.robustness.claims import claims
from assay.papers.robustness.printed import PAPER_NAMES, PRINTED_EXPLAINERS, RANKS, TABLE_1
from assay.study.audit.standard import PAPER_EXPLAINERS

SPECS = dict(zip(PRINTED_EXPLAINERS, map(short, PAPER_EXPLAINERS), strict=True))
NAMES = list(TABLE_1)
SIGMAS = (0.01, 0.1, 0.4)
FAITHFUL = "MarginalContribution(similarity='pearson')"


def table(network, explainer, measure, means, seed, images=16):
    """Values of images that scatter around a mean, by a tenth of it."""
    noise = np.random.default_rng(seed).normal(size=images)
    return pl.DataFrame({"image": range(images), "value": means * (1 + 0.1 * noise)}).select(
        pl.lit(network).alias("network"),
        pl.lit("probability").alias("output"),
        pl.lit("all").alias("part"),
        "image",
        pl.lit(explainer).alias("explainer"),
        pl.lit(measure).alias("measure"),
        "value",
    )


def lipschitz(order=1):
    """The paper's own table 1, or its standard and robust sides exchanged."""
    rows = []
    for place, (name, (_, *sides)) in enumerate(TABLE_1.items()):
        for network, side in zip((name, f"{name}-linf"), sides[::order], strict=True):
            seed = 100 * place + 7 * len(network)
            rows += [
                table(network, SPECS[one], "LocalLipschitz", value, seed + k)
                for k, (one, value) in enumerate(zip(PRINTED_EXPLAINERS, side, strict=True))
            ]
            rows.append(table(network, "score", "LocalLipschitz", side[0] / 10, seed))
    return pl.concat(rows)


def curve(means, measure=FAITHFUL, names=NAMES):
    specs = ["Gradient", *(f"SmoothGrad(sigma={sigma})" for sigma in SIGMAS)]
    return pl.concat(
        [
            table(name, spec, measure, mean, 10 * k + j)
            for k, name in enumerate(names)
            for j, (spec, mean) in enumerate(zip(specs, means, strict=True))
        ]
    )


def lines(values, where):
    return [one for one in claims(distinct_cells(values)) if one.where == where]


def test_the_papers_own_figures_agree_with_the_paper():
    above, standard, robust, *backbones = lines(lipschitz(), "Table 1")
    assert (above.agrees, above.measured) == ("yes", "30 of 30 cells confirmed, 0 the other way")
    assert standard.agrees == "yes"
    assert robust.agrees in ("yes", "undecided")
    assert [one.agrees for one in backbones] == ["yes", "yes"]
    assert "Grad 1.00" in backbones[0].measured


def test_exchanged_twins_disagree():
    above = lines(lipschitz(-1), "Table 1")[0]
    assert above.agrees == "no"
    assert "0 of 30 cells confirmed" in above.measured


def test_backbones_in_the_opposite_order_disagree():
    values = lipschitz().with_columns(
        pl.when(pl.col("explainer") == "score").then(1 / pl.col("value")).otherwise(pl.col("value")).alias("value")
    )
    assert [one.agrees for one in lines(values, "Table 1")[3:]] == ["no", "no"]


@pytest.mark.parametrize(
    ("means", "agrees"), [((4.0, 3.0, 2.0, 1.0), "yes"), ((1.0, 2.0, 3.0, 4.0), "no"), ((1.0, 1.0, 1.0, 1.0), "undecided")]
)
def test_figure_4_asks_whether_the_constant_falls(means, agrees):
    assert lines(curve(means, "LocalLipschitz(draws=10)"), "Fig. 4")[0].agrees == agrees


@pytest.mark.parametrize(
    ("means", "agrees"),
    [((1.0, 2.0, 1.5, 0.5), "yes"), ((4.0, 3.0, 2.0, 1.0), "no"), ((1.0, 2.0, 3.0, 4.0), "no"), ((1.0, 1.0, 1.0, 1.0), "undecided")],
)
def test_figure_5_asks_for_an_optimum_inside(means, agrees):
    assert lines(curve(means), "Fig. 5")[1].agrees == agrees


def test_one_network_without_the_optimum_is_enough_to_disagree():
    values = pl.concat([curve((1.0, 2.0, 1.5, 0.5), names=NAMES[:4]), curve((4.0, 3.0, 2.0, 1.0), names=NAMES[4:])])
    assert lines(values, "Fig. 5")[1].agrees == "no"


def test_figure_6_goes_over_the_explainers_in_order_of_their_constants():
    def across(means):
        rows = [table(name, SPECS[one], FAITHFUL, mean, k) for name in NAMES for k, (one, mean) in enumerate(means.items())]
        return pl.concat([lipschitz(), *rows])

    # On the standard VGG of the paper: Grad, SG, GI, LIME, IG, SHAP from least to most robust.
    inside = {"Grad": 1.0, "SG": 2.0, "GI": 2.0, "LIME": 2.0, "IG": 2.0, "SHAP": 0.5}
    assert lines(across(inside), "Fig. 6")[1].agrees == "yes"
    assert lines(across(inside | {"SHAP": 5.0}), "Fig. 6")[1].agrees == "no"


def test_what_was_not_measured_is_not_run():
    found = claims(distinct_cells(curve((1.0, 1.0, 1.0, 1.0), "Deletion")))
    assert {one.agrees for one in found} == {"not run"}
    assert [one.agrees for one in claims(distinct_cells(lipschitz())) if one.where == "Fig. 3"] == ["not run"]


@pytest.mark.parametrize(("order", "agrees"), [(1, "yes"), (-1, "no")])
def test_figure_3_correlates_model_and_explanation_over_the_graded_networks_alone(order, agrees):
    rows = []
    for place in range(10):
        name, constant = f"resnet-cifar10-eps{place}", 10.0 - place
        rows.append(table(name, "score", "LocalLipschitz", constant, place))
        rows += [table(name, SPECS[one], "LocalLipschitz", constant**order, 20 + place) for one in ("Grad", "GI")]
    found = claims(distinct_cells(pl.concat([lipschitz(), *rows]), [f"resnet-cifar10-eps{place}" for place in range(10)]))
    (third,) = (one for one in found if one.where == "Fig. 3")
    assert third.agrees == agrees
    assert third.measured.startswith(f"10 networks: Grad {order:.2f}")
    # They take no part in table 1.
    assert found[0].measured == "30 of 30 cells confirmed, 0 the other way"
    assert "5 networks" in next(one for one in found if one.printed.startswith("rank correlation")).measured


def test_cells_that_two_parts_measured_count_once():
    once = lipschitz()
    assert distinct_cells(pl.concat([once, once.with_columns(pl.lit("other").alias("part"))])).height == once.height


def test_widths_are_read_from_specs():
    specs = ["SmoothGrad(sigma=0.4)", "Lime", "Gradient", "SmoothGrad(sigma=0.01, samples=3)"]
    values = distinct_cells(pl.concat([table("resnet-cifar10", spec, "Deletion", 1.0, 0) for spec in specs]))
    assert widths(values) == {0.0: "Gradient", 0.01: "SmoothGrad(sigma=0.01, samples=3)", 0.4: "SmoothGrad(sigma=0.4)"}


def test_what_is_printed_has_the_papers_correlations():
    """Table 1 gives rank correlations of 1 for the gradient explainers: the model's robustness orders the backbones as Gradient's does."""
    from assay.stats.shape import rank_correlation

    for side, kind in ((1, "standard"), (2, "robust")):
        grad = [row[side][0] for row in TABLE_1.values()]
        for place, printed in enumerate(RANKS[kind]):
            assert rank_correlation(grad, [row[side][place] for row in TABLE_1.values()])[0] == pytest.approx(printed, abs=0.051)
    assert [PAPER_NAMES[type(one)] for one in PAPER_EXPLAINERS] == list(PRINTED_EXPLAINERS)
