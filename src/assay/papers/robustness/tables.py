"""The robustness study's tables: what the paper prints beside what was measured, then what is ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from assay.attack.predictions.pgd import PGD
from assay.core.registry import build
from assay.papers.robustness.cells import PAPERS, is_faithful
from assay.papers.robustness.claims import Claim
from assay.papers.robustness.networks import PaperNetwork
from assay.papers.robustness.printed import PRINTED_EXPLAINERS, TABLE_1
from assay.report.export import HIGH, LOW, Table, wide
from assay.report.text import plain_names
from assay.stats.intervals import means
from assay.study.certify_study import certified_summary

__all__ = ["robustness_tables"]


_TABLE_1 = (
    'Means over the images with 95% intervals, of 50 draws; "printed" are the paper\'s networks, standard or robust. Orders are to be '
    "compared: absolute values depend on the network, and those of LIME and SHAP on how a segment's value is spread; here every pixel has "
    "its segment's coefficient, once for all channels, and segments are found anew on every noisy image. Model: the constant of the "
    "network's own output."
)


def robustness_tables(
    networks: Mapping[str, PaperNetwork],
    values: pl.DataFrame,
    found: Sequence[Claim],
    costs: pl.DataFrame,
    held: pl.DataFrame | None,
    certificates: pl.DataFrame | None,
) -> Iterator[Table]:
    """All tables.

    Args:
        networks: The networks by name.
        values: As `assay.papers.robustness.cells.distinct_cells` gives them.
        found: The claims.
        costs: A row for each step.
        held: For each network the answers of an audit, and whether each explainer is trusted.
        certificates: A row for each network, image and radius.
    """
    lines = [
        {"where": one.where, "printed in the paper": one.printed, "measured here": one.measured, "agrees?": one.agrees} for one in found
    ]
    yield Table("claims", "Printed in the paper, measured here.", "By the rules above.", pl.DataFrame(lines), section="claims")
    yield _networks(networks, values)
    doses = _of_six(values.filter(graded=True, output="probability", measure=PAPERS))
    values = values.filter(graded=False)
    constants = values.filter(measure=PAPERS)
    for output in constants["output"].unique(maintain_order=True):
        rows = _of_six(constants.filter(pl.col("output") == output))
        if rows.height:
            yield Table(
                f"table1-{output}", f"Local Lipschitz constants, of the {output}.", _TABLE_1, _with_printed(rows), section="constants"
            )
    if doses.height:
        note = "Means over the images with 95% intervals. One backbone, fine-tuned for a short time against Linf balls of so many 255ths."
        yield Table("fig3-probability", "Networks of graded robustness (Fig. 3), of the probability.", note, doses, section="figures")
    for similarity in ("inverse_l2", "pearson", "spearman"):
        for output in values["output"].unique(maintain_order=True):
            rows = _of_six(values.filter((pl.col("output") == output) & is_faithful(similarity)))
            if rows.height:
                title = f"Marginal contributions, likeness by {similarity}, of the {output}."
                yield Table(
                    f"faithfulness-{similarity}-{output}", title, "Means with 95% intervals; higher is better.", rows, section="figures"
                )
    condition, shares = _condition(values)
    if condition.height:
        note = (
            "What the theorem on faithfulness (5.2) asks of a network, over the groups of pixels: the length of the contributions p over "
            "that of the gradient, the paper's bound for its nu; then, for the gradient and widths of SmoothGrad, the share where "
            "1 / |map - p| is larger than 1 / |p|, where it ends as the map vanishes (p . map > |map|^2 / 2). Where few do, "
            "1 / |map - p| cannot fall at the end. How long p is, is our scaling of a group, which the paper leaves open."
        )
        yield Table("condition", "The condition of the theorem on faithfulness, by network.", note, condition, shares, section="figures")
    ours = values.filter(statistic="ours")
    if ours.height:
        # Names alone, but where two settings of one explainer were measured, whose scores are not to stand in one row.
        plain = [pl.col(name).replace(plain_names(ours[name].unique(maintain_order=True).to_list())) for name in ("explainer", "measure")]
        grouped = wide(_summary(ours.with_columns(plain), ["network", "explainer", "measure"]), ["network", "explainer"], "measure")
        note = (
            "Not in the paper. Means with 95% intervals beside those of a random map (RandomMap), which a telling measure must tell apart."
        )
        yield Table("ours", "Ours: attacks and other notions of faithfulness.", note, grouped, section="ours")
    if held is not None and held.height:
        yield _held(held)
    if certificates is not None and certificates.height:
        parts = []
        for (network,), own in certificates.group_by("network", maintain_order=True):
            own_summary = certified_summary(own.sort("eps", maintain_order=True))
            parts.append(own_summary.select(pl.lit(network).alias("network"), "eps", "images", "certified", "cosine"))
        note = (
            "Not in the paper. Of the smoothed gradient of the probability (SmoothGrad, sigma 0.25): the share of images with a bound that "
            "says something, and the mean certified cosine to the map, 0 where nothing is certified."
        )
        yield Table("certified", "Ours: certificates within L2 balls.", note, pl.concat(parts), frozenset({"certified"}), section="ours")
    told = costs.group_by("part", maintain_order=True).agg(
        pl.col("network").n_unique().alias("networks"),
        pl.col("images", "forward", "backward").sum(),
        (pl.col("seconds").sum() / 60).alias("minutes"),
    )
    yield Table(
        "steps",
        "What it took.",
        "Images, passes and minutes of one process, over all networks and outputs.",
        told,
        decimals=1,
        section="steps",
    )


def _held(answers: pl.DataFrame) -> Table:
    """By which measures each explainer passes each question, network by network."""
    lines = []
    names = plain_names(answers["explainer"].unique(maintain_order=True).to_list())
    measures = plain_names(answers["measure"].unique(maintain_order=True).to_list())
    for (network, explainer), own in answers.group_by("network", "explainer", maintain_order=True):
        line: dict[str, object] = {"network": network, "explainer": names[str(explainer)]}
        for (question,), each in own.group_by("question", maintain_order=True):
            line[str(question)] = ", ".join(measures[one] for one in each.filter("holds")["measure"]) or "none"
        lines.append(line | {"trusted": "yes" if own["trusted"][0] else "no"})
    note = (
        "Not in the paper. Each explainer's maps are held against themselves put elsewhere, the map of another image, the map of the "
        "network with random weights, and the best map that shows the image alone; told are the measures by which a question is shown to "
        "be passed. Trusted is what passes all four by the rules of an audit of that network, corrected for its explainers; "
        "over the networks nothing is corrected."
    )
    return Table("nulls", "Ours: the paper's explainers held against the nulls.", note, pl.DataFrame(lines), section="ours")


def _networks(networks: Mapping[str, PaperNetwork], values: pl.DataFrame) -> Table:
    score = values.filter(method="model")
    lines = []
    for name, one in networks.items():
        row: dict[str, object] = {"network": name, "parameters": one.card.parameters}
        row |= {"accuracy": one.card.test_accuracy.value, "under attack": None, "attack": ""}
        if one.card.robust is not None:
            attack = build(one.card.robust.attack, PGD)
            row |= {"under attack": one.card.robust.accuracy.value, "attack": f"PGD-{attack.steps}, {attack.norm}"}
        for output in ("probability", "logit"):
            own = score.filter((pl.col("network") == name) & (pl.col("output") == output))["value"]
            row[f"L of the {output}"] = own.mean() if len(own) else None
        lines.append(row)
    note = "Accuracies of the cards in %, on test images; L is the mean local Lipschitz constant of the output (definition 3.2)."
    return Table("networks", "The networks.", note, pl.DataFrame(lines), frozenset({"accuracy", "under attack"}), section="claims")


def _condition(values: pl.DataFrame) -> tuple[pl.DataFrame, frozenset[str]]:
    """A line for each network, and the columns that are shares."""
    lines, shares = [], set()
    rows = values.filter(pl.col("statistic").is_in(("length", "direction")))
    for (network,), own in rows.group_by("network", maintain_order=True):
        long = own.filter(statistic="length", width=0.0)["value"]
        one = means(long.to_numpy()[:, None])[0]
        line: dict[str, object] = {
            "network": network,
            "|p| / |grad|": one.mean,
            f"|p| / |grad|{LOW}": one.low,
            f"|p| / |grad|{HIGH}": one.high,
        }
        along = own.filter(statistic="direction")
        for (explainer,), each in along.group_by("explainer", maintain_order=True):
            shares.add(f"{explainer}, %")
            line[f"{explainer}, %"] = (each["value"] > 0.5).mean()
        lines.append(line)
    return pl.DataFrame(lines, infer_schema_length=None), frozenset(shares)


def _summary(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """A row for each group: its mean with its interval, and images."""
    found = []
    for key, own in rows.group_by(by, maintain_order=True):
        one = means(own["value"].to_numpy()[:, None])[0]
        found.append(dict(zip(by, key, strict=True)) | {"mean": one.mean, "low": one.low, "high": one.high})
    return pl.DataFrame(found)


def _of_six(rows: pl.DataFrame) -> pl.DataFrame:
    """A line for each network, a column for each of the paper's explainers, of SmoothGrad at the paper's own width."""
    lines = []
    for (network,), own in rows.filter(pl.col("method").is_not_null() & pl.col("usual")).group_by("network", maintain_order=True):
        line: dict[str, object] = {"network": network}
        for one in _summary(own, ["method"]).iter_rows(named=True):
            name = one["method"]
            line |= {name: one["mean"], f"{name}{LOW}": one["low"], f"{name}{HIGH}": one["high"]}
        lines.append(line)
    order = [f"{name}{end}" for name in ("model", *PRINTED_EXPLAINERS) for end in ("", LOW, HIGH)]
    frame = pl.DataFrame(lines, infer_schema_length=None)
    return frame.select("network", *(name for name in order if name in frame.columns)) if lines else frame


def _with_printed(rows: pl.DataFrame) -> pl.DataFrame:
    """The paper's lines under ours."""
    printed = [
        {"network": f"printed: {name}, {kind}", **dict(zip(PRINTED_EXPLAINERS, figures, strict=True))}
        for name, *sides in TABLE_1.values()
        for kind, figures in zip(("standard", "robust"), sides, strict=True)
    ]
    frame = pl.DataFrame(printed)
    shown = [name for name in ("network", *PRINTED_EXPLAINERS) if name in rows.columns]
    return pl.concat([rows, frame.select(shown)], how="diagonal")
