"""The robustness study's tables: what the paper prints beside what was measured, then what is ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from assay.papers.robustness.claims import PAPERS, Claim, is_faithful, is_graded
from assay.papers.robustness.condition import ALONG, LONG
from assay.papers.robustness.networks import PaperNetwork
from assay.papers.robustness.printed import PRINTED_EXPLAINERS, TABLE_1, named
from assay.report.export import HIGH, LOW, Table, wide
from assay.stats.intervals import means
from assay.study.certify import certified_summary

__all__ = ["robustness_tables"]


_TABLE_1 = (
    'Means over the images with 95 % intervals, of 50 draws; "printed" are the paper\'s networks, standard or robust. Orders are to be '
    "compared: absolute values depend on the network, and those of LIME and SHAP on how a segment's value is spread; here every pixel has "
    "its segment's coefficient, once for all channels, and segments are found anew on every noisy image. Model: the constant of the "
    "network's own output."
)


def robustness_tables(
    networks: Mapping[str, PaperNetwork],
    values: pl.DataFrame,
    found: Sequence[Claim],
    costs: pl.DataFrame,
    certificates: pl.DataFrame | None,
) -> Iterator[Table]:
    """All tables.

    Args:
        networks: The networks by name.
        values: As `assay.papers.robustness.claims.distinct_cells` gives them.
        found: The claims.
        costs: A row for each step.
        certificates: A row for each network, image and radius.
    """
    lines = [
        {"where": one.where, "printed in the paper": one.printed, "measured here": one.measured, "agrees?": one.agrees} for one in found
    ]
    yield Table("claims", "Printed in the paper, measured here.", "By the rules above.", pl.DataFrame(lines))
    yield _networks(networks, values)
    doses = _of_six(values.filter(is_graded() & (pl.col("output") == "probability") & (pl.col("measure") == PAPERS)))
    values = values.filter(~is_graded())
    constants = values.filter(pl.col("measure") == PAPERS)
    for output in constants["output"].unique(maintain_order=True):
        rows = _of_six(constants.filter(pl.col("output") == output))
        if rows.height:
            yield Table(f"table1-{output}", f"Local Lipschitz constants, of the {output}.", _TABLE_1, _with_printed(rows), decimals=3)
    if doses.height:
        note = "Means over the images with 95 % intervals. One backbone, fine-tuned for a short time against Linf balls of so many 255ths."
        yield Table("fig3-probability", "Networks of graded robustness (Fig. 3), of the probability.", note, doses, decimals=3)
    for similarity in ("inverse_l2", "pearson", "spearman"):
        for output in values["output"].unique(maintain_order=True):
            rows = _of_six(values.filter((pl.col("output") == output) & is_faithful(similarity)))
            if rows.height:
                title = f"Marginal contributions, likeness by {similarity}, of the {output}."
                yield Table(f"faithfulness-{similarity}-{output}", title, "Means with 95 % intervals; higher is better.", rows, decimals=3)
    condition = _condition(values.filter(pl.col("measure").is_in((LONG, ALONG))))
    if condition.height:
        note = (
            "What the theorem on faithfulness (5.2) asks of a network, over the groups of pixels: the length of the contributions p over "
            "that of the gradient, the paper's bound for its nu; then, for the gradient and widths of SmoothGrad, the share where "
            "1 / |map - p| is larger than 1 / |p|, where it ends as the map vanishes (p . map > |map|^2 / 2). Where few do, "
            "1 / |map - p| cannot fall at the end. How long p is, is our scaling of a group, which the paper leaves open."
        )
        shares = frozenset(name for name in condition.columns if "%" in name)
        yield Table("condition", "The condition of the theorem on faithfulness, by network.", note, condition, shares, decimals=3)
    ours = values.filter(pl.col("part").str.starts_with("ours"))
    if ours.height:
        plain = pl.col("explainer", "measure").str.replace(r"\(.*", "")
        grouped = wide(_summary(ours.with_columns(plain), ["network", "explainer", "measure"]), ["network", "explainer"], "measure")
        note = (
            "Not in the paper. Means with 95 % intervals beside those of a random map (RandomMap), which a telling measure must tell apart."
        )
        yield Table("ours", "Ours: attacks and other notions of faithfulness.", note, grouped, decimals=3)
    if certificates is not None and certificates.height:
        parts = []
        for (network,), own in certificates.group_by("network", maintain_order=True):
            own_summary = certified_summary(own.sort("eps", maintain_order=True))
            parts.append(own_summary.select(pl.lit(network).alias("network"), "eps", "images", "certified", "cosine"))
        note = (
            "Not in the paper. Of the smoothed gradient of the probability (SmoothGrad, sigma 0.25): the share of images with a bound that "
            "says something, and the mean certified cosine to the map, 0 where nothing is certified."
        )
        yield Table("certified", "Ours: certificates within L2 balls.", note, pl.concat(parts), frozenset({"certified"}))
    told = costs.group_by("part", maintain_order=True).agg(
        pl.col("network").n_unique().alias("networks"),
        pl.col("images", "forward", "backward").sum(),
        (pl.col("seconds").sum() / 60).alias("minutes"),
    )
    yield Table("steps", "What it took.", "Images, passes and minutes of one process, over all networks and outputs.", told, decimals=1)


def _networks(networks: Mapping[str, PaperNetwork], values: pl.DataFrame) -> Table:
    score = values.filter(pl.col("explainer") == "score")
    lines = []
    for name, one in networks.items():
        row: dict[str, object] = {"network": name, "parameters": one.card.parameters}
        row |= {"accuracy": one.card.test_accuracy.value, "under attack": None, "attack": ""}
        if one.card.robust is not None:
            ball = one.card.robust.attack.partition("norm='")[2].partition("'")[0]
            row |= {"under attack": one.card.robust.accuracy.value, "attack": f"PGD-20, {ball}"}
        for output in ("probability", "logit"):
            own = score.filter((pl.col("network") == name) & (pl.col("output") == output))["value"]
            row[f"L of the {output}"] = own.mean() if len(own) else None
        lines.append(row)
    note = "Accuracies of the cards in %, on test images; L is the mean local Lipschitz constant of the output (definition 3.2)."
    return Table("networks", "The networks.", note, pl.DataFrame(lines), frozenset({"accuracy", "under attack"}))


def _condition(rows: pl.DataFrame) -> pl.DataFrame:
    """A line for each network."""
    lines = []
    for (network,), own in rows.group_by("network", maintain_order=True):
        long = own.filter((pl.col("measure") == LONG) & (pl.col("explainer") == "Gradient"))["value"]
        one = means(long.to_numpy()[:, None])[0]
        line: dict[str, object] = {
            "network": network,
            "|p| / |grad|": one.mean,
            f"|p| / |grad|{LOW}": one.low,
            f"|p| / |grad|{HIGH}": one.high,
        }
        along = own.filter(pl.col("measure") == ALONG)
        for (explainer,), each in along.group_by("explainer", maintain_order=True):
            line[f"{explainer}, %"] = (each["value"] > 0.5).mean()
        lines.append(line)
    return pl.DataFrame(lines, infer_schema_length=None)


def _summary(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """A row for each group: its mean with its interval, and images."""
    found = []
    for key, own in rows.group_by(by, maintain_order=True):
        one = means(own["value"].to_numpy()[:, None])[0]
        found.append(dict(zip(by, key, strict=True)) | {"mean": one.mean, "low": one.low, "high": one.high})
    return pl.DataFrame(found)


def _of_six(rows: pl.DataFrame) -> pl.DataFrame:
    """A line for each network, a column for each of the paper's explainers."""
    wanted = {spec: named(spec) for spec in rows["explainer"].unique(maintain_order=True)} | {"score": "model"}
    # Of SmoothGrad the paper's own width.
    known = {spec: name for spec, name in wanted.items() if name is not None and "sigma" not in spec}
    lines = []
    for (network,), own in rows.filter(pl.col("explainer").is_in(list(known))).group_by("network", maintain_order=True):
        line: dict[str, object] = {"network": network}
        for one in _summary(own, ["explainer"]).iter_rows(named=True):
            name = known[one["explainer"]]
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
