"""From the DiET study's values to its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from assay.core.registry import short
from assay.measure.localisation import overlaps
from assay.papers.diet.choose import agreement_low
from assay.papers.diet.evaluation import BASELINE, EVIDENCE_ALONE, IOU, MASK, PLAIN_MASK, PROPORTIONS, WHITE
from assay.papers.diet.work import Found
from assay.report.export import Table, wide
from assay.stats.intervals import Interval, means, share
from assay.tune.simplify import drawn_masks

__all__ = ["diet_tables", "images", "interval", "summary", "values"]

KEYS = ("variant", "part", "model", "attribution", "measure")


def values(long: pl.DataFrame, **wanted: str) -> pl.DataFrame:
    """Rows with these entries in these columns."""
    return long.filter(*(pl.col(name) == value for name, value in wanted.items()))


def images(rows: pl.DataFrame) -> np.ndarray:
    """The mean over the seeds of each image's value, by image."""
    found: np.ndarray = rows.group_by("image").agg(pl.col("value").mean()).sort("image")["value"].to_numpy()
    return found


def interval(rows: pl.DataFrame) -> Interval:
    """Mean over images and its interval; Wilson's where each value of one seed is 0 or 1."""
    each = images(rows)
    known = each[np.isfinite(each)]
    if rows["seed"].n_unique() == 1 and rows["kind"][0] in PROPORTIONS and len(known) and np.isin(known, (0, 1)).all():
        return share(round(float(known.sum())), len(known))
    return means(each[:, None])[0]


def summary(long: pl.DataFrame, keys: Sequence[str] = KEYS) -> pl.DataFrame:
    """One row for each group: mean, low and high."""
    rows = []
    for names, group in long.group_by(keys, maintain_order=True):
        one = interval(group)
        rows.append(dict(zip(keys, names, strict=True)) | {"mean": one.mean, "low": one.low, "high": one.high})
    return pl.DataFrame(rows, infer_schema_length=None)


def diet_tables(found: Sequence[Found], long: pl.DataFrame, seconds: Mapping[str, float]) -> tuple[Table, ...]:
    """The study's tables, in the order of the report.

    Args:
        found: What the forms of the data came to.
        long: Their values, with a column of the form.
        seconds: Of the jobs that train and tune.
    """
    several = len(found) > 1
    made = [
        _choice(found),
        _faithful(long),
        _truth(found, long),
        _pixels(long),
        _backgrounds(long),
        _alone(long),
        _manipulated(found),
        _rounds(found),
    ]
    made.append(_costs(found, seconds))
    return tuple(_without(one, several) for one in made if one.frame.height)


def _choice(found: Sequence[Found]) -> Table:
    rows: list[dict[str, Any]] = []
    for one in found:
        for method, tried in one.tried.items():
            for number, outcome in enumerate(tried):
                count = len(one.tune[0])
                rows.append(
                    {
                        "variant": one.variant,
                        "model": method,
                        "setting": _differs(outcome.diet, [other.diet for other in tried]),
                        "kept, %": outcome.facts["kept"],
                        "agreement, %": outcome.facts["simplified"],
                        "agreement at least, %": agreement_low(outcome.facts, count),
                        "passes": outcome.passes,
                        "minutes": outcome.seconds / 60,
                        "taken": number == one.best[method],
                    }
                )
    return Table(
        "choice",
        "Settings tried, as many for each recipe, on the tune images.",
        "Taken is the setting that keeps least among those whose model gives the baseline's class for at least 97% of what the rounded "
        "masks leave, by the lower end of Wilson's interval; where none does, the one that agrees most. Settings that keep more than 90% "
        "are passed over while there are others. Ground truth plays no part.",
        pl.DataFrame(rows),
        frozenset({"kept, %", "agreement, %", "agreement at least, %"}),
        1,
    )


def _faithful(long: pl.DataFrame) -> Table:
    whole = values(long, attribution="").with_columns(pl.col("measure") + ", " + pl.col("part") + ", %")
    left = long.filter((pl.col("attribution") == MASK) & pl.col("kind").is_in(("erased", "kept")))
    rows = pl.concat([whole, left.with_columns(pl.col("measure") + ", %")])
    found = summary(
        rows.with_columns(measure=pl.col("measure").str.replace("kept, %", "kept by rounded masks, %")),
        [*KEYS[:1], "model", "seed", "measure"],
    )
    return Table(
        "faithfulness",
        "The tuned models beside the baseline f_b, seed by seed (the paper's model faithfulness).",
        "Accuracy against the labels; agreement with the class of f_b on the whole image: on whole test images, and on what masks leave "
        "of the scored ones, learned with the model fixed, before colours as the authors evaluate (a tenth as wide as tuned with) and, "
        "harder, as wide as tuned with. Rounded masks keep what is at least one half. Shares with Wilson's intervals.",
        wide(found, ("variant", "model", "seed"), "measure") if found.height else found,
        frozenset(found["measure"]) if found.height else frozenset(),
    )


def _truth(found: Sequence[Found], long: pl.DataFrame) -> Table:
    rows = long.filter(pl.col("measure").is_in((IOU, WHITE, "on distractor")))
    if not rows.height:
        return Table("truth", "", "", pl.DataFrame())
    frame = wide(summary(rows), ("variant", "model", "attribution"), "measure")
    costs = {
        (one.variant, row["model"], row["attribution"]): row
        for one in found
        for row in one.costs.group_by("model", "attribution").agg(pl.col("images", "seconds", "passes").sum()).iter_rows(named=True)
    }
    overlaps = values(rows, measure=IOU)
    known = overlaps.filter(pl.col("value").is_not_nan()).group_by("variant", "image").len().select("variant", "image")
    flat = overlaps.join(known, on=["variant", "image"]).group_by("variant", "model", "attribution").agg(pl.col("value").is_nan().sum())
    unranked = {(row[0], row[1], row[2]): row[3] for row in flat.iter_rows()}
    keys = list(frame.select("variant", "model", "attribution").iter_rows())
    makers = dict(rows.select("attribution", "maker").unique().iter_rows())
    each = [costs[variant, model, makers[name]] for variant, model, name in keys]
    frame = frame.with_columns(
        pl.Series("flat maps", [unranked[key] for key in keys]),
        pl.Series("passes an image", [row["passes"] / row["images"] for row in each]),
        pl.Series("ms an image", [1000 * row["seconds"] / row["images"] for row in each]),
    )
    return Table(
        "truth",
        "Maps against the known evidence (the paper's ground truth; rows that are refined are ours).",
        "IoU of the mask of the evidence with as many top pixels of the map, by magnitude as the authors take them, mean over seeds for "
        "masks (an audit's MaskIoU takes the signed values, so that its numbers are others); the share of the map's relevance "
        "on the distractor. Refined maps are drawn along the images' edges by a guided filter, the same for all, which asks no model; a "
        f"recipe that draws its own masks so has them in the row {MASK}, and in {PLAIN_MASK} as they are before. "
        "Flat maps rank nothing and have no overlap; they are left out, which favours what makes them. "
        "Masks are those of images that were not tuned on; the tuning's own price is in the table of costs.",
        frame,
    )


def _pixels(long: pl.DataFrame) -> Table:
    rows = values(long, kind="top pixels").with_columns(pl.col("measure") + ", accuracy %")
    found = summary(rows)
    return Table(
        "pixels",
        "Accuracy when only the top pixels of a map are kept (the paper's pixel perturbation).",
        "The others take the authors' colour (.527, .447, .403). Each map is judged by the model that it explains, on test images.",
        wide(found, ("variant", "model", "attribution"), "measure"),
        frozenset(found["measure"]),
    )


def _backgrounds(long: pl.DataFrame) -> Table:
    rows = values(long, kind="background").with_columns(pl.col("measure") + ", %")
    found = summary(rows)
    return Table(
        "backgrounds",
        "Erasing what the rounded mask leaves out, before different backgrounds (ours).",
        "How often the class is still that of f_b on the whole image; mean over seeds. Rows with f_b judge by the baseline. The last two "
        "of each recipe are controls: they should be near chance, or the masks, not the pixels, carry the class.",
        wide(found, ("variant", "model", "attribution"), "measure").rename({"attribution": "what is kept"}),
        frozenset(found["measure"]),
    )


def _alone(long: pl.DataFrame) -> Table:
    found = summary(values(long, attribution=EVIDENCE_ALONE), ("variant", "model", "measure"))
    return Table(
        "evidence",
        "What the models lose when only the known evidence is left (the authors' verifiability, from their code).",
        "L1 distance of the probabilities on the image from those on its evidence before black; 0 is nothing lost, 2 all. Mean over seeds.",
        wide(found, ("variant", "model"), "measure") if found.height else found,
    )


def _manipulated(found: Sequence[Found]) -> Table:
    rows: list[dict[str, Any]] = []
    for one in found:
        if one.manipulated is None:
            continue
        overlaps_ = values(one.manipulated.long, measure=IOU, part="test")
        for (model, name), after in overlaps_.group_by("model", "attribution", maintain_order=True):
            before = values(one.long, measure=IOU, part="test", model=str(model), attribution=str(name)).filter(pl.col("seed") == 0)
            each = images(before), images(after)
            told = zip(("IoU, baseline", "IoU, manipulated", "change"), (*each, each[1] - each[0]), strict=True)
            line: dict[str, Any] = {"variant": one.variant, "model": model, "attribution": name}
            for title, measured in told:
                mean = means(measured[:, None])[0]
                line |= {title: mean.mean, f"{title} low": mean.low, f"{title} high": mean.high}
            rows.append(line)
    return Table(
        "manipulated",
        "A baseline that is trained to mislead: it answers as before, and its gradients are pushed into a corner (ours).",
        "IoU of each map with the known evidence on the baseline, on the manipulated baseline, and the paired change. The mask is that of "
        "DiET tuned on each of them anew, first seed. The authors' public repository has no code for such a test; this one follows Heo, "
        "Joo and Moon, NeurIPS 2019.",
        pl.DataFrame(rows, infer_schema_length=None),
    )


def _rounds(found: Sequence[Found]) -> Table:
    names = {
        "kept": "kept by rounded masks, %",
        "on_images": "agreement, images, %",
        "simplified": "agreement, simplified, %",
        "elsewhere": "agreement, other backgrounds, %",
        "base": "f_b on simplified, %",
    }
    rows: list[dict[str, Any]] = []
    for one in found:
        pixels, truth = one.tune
        for method, (outcome, *_) in one.finals.items():
            for number, facts in enumerate(outcome.history):
                line = {"variant": one.variant, "model": method, "round": number, "taken": number == outcome.chosen}
                line |= {title: facts[key] for key, title in names.items()}
                if truth is not None:
                    line[IOU] = float(overlaps([drawn_masks(outcome.masks[number], pixels, outcome.diet.edges)], truth)[0].nanmean())
                rows.append(line)
    return Table(
        "rounds",
        "Round by round, on the tune images, first seed.",
        "Rounds count from 0, as the authors count. The overlap of that round's masks with the evidence is shown for the reader alone.",
        pl.DataFrame(rows, infer_schema_length=None),
        frozenset(names.values()),
    )


def _costs(found: Sequence[Found], seconds: Mapping[str, float]) -> Table:
    rows: list[dict[str, Any]] = []
    for one in found:
        for method, outcomes in one.finals.items():
            everything = (*one.tried[method], *outcomes[1:])
            rows.append(
                {
                    "variant": one.variant,
                    "what": f"{method}: tuning, {len(everything)} times",
                    "passes": sum(outcome.passes for outcome in everything),
                    "minutes": sum(outcome.seconds for outcome in everything) / 60,
                }
            )
        shown = one.costs.filter((pl.col("model") == BASELINE) | (pl.col("seed") == 0))
        kinds = shown.group_by("model", "attribution", maintain_order=True).agg(pl.col("images", "passes", "seconds").sum())
        for row in kinds.iter_rows(named=True):
            name = f"{row['model']}: {row['attribution']} of {row['images']} images"
            rows.append({"variant": one.variant, "what": name, "passes": row["passes"], "minutes": row["seconds"] / 60})
    trained = [one.trained for one in found if one.trained in seconds]
    rows += [{"variant": "", "what": name, "passes": None, "minutes": seconds[name] / 60} for name in trained]
    frame = (
        pl.DataFrame(rows, infer_schema_length=None).group_by("variant", "what", maintain_order=True).agg(pl.col("passes", "minutes").sum())
    )
    return Table(
        "costs", "What it cost.", "Passes of one image, forward or backward; minutes on the machine named below.", frame, decimals=2
    )


def _differs(one: Any, others: Sequence[Any]) -> str:
    """The fields in which the settings differ."""
    names = [name for name in one.__dataclass_fields__ if len({repr(getattr(other, name)) for other in others}) > 1]
    shown = (getattr(one, name) for name in names)
    return ", ".join(
        f"{name}={short(value) if hasattr(value, '__dataclass_fields__') else value}" for name, value in zip(names, shown, strict=True)
    )


def _without(table: Table, several: bool) -> Table:
    """The table without empty columns, and without the form's where there is one form."""
    drop = [name for name in table.frame.columns if not several and name == "variant"]
    drop += [name for name in table.frame.columns if table.frame[name].null_count() == table.frame.height]
    return Table(table.name, table.title, table.note, table.frame.drop(drop), table.percent, table.decimals)
