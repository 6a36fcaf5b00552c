"""Plain words for what an audit found, by rules that are written here and shown in the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from assay.measure.attacked import AFTER_NOISE, ATTACKED
from assay.report.page import Sentence, Tone
from assay.report.text import worded
from assay.stats.dominance import dominated
from assay.stats.intervals import LEVEL
from assay.study.audit.answers import Answers
from assay.study.audit.nulls import NULL_STEPS, SHIFTS
from assay.study.audit.questions.held import QUESTIONS
from assay.study.audit.statistics import BETTER

__all__ = ["AGREEING", "FAILING", "PASSING", "VERDICT_RULES", "least_alike", "verdict"]

FRAGILE = 0.5
FEW = 30
AGREEING = 0.5
"""Trusted explainers that share less of their top tenth of the pixels are said to disagree."""
VERDICT_RULES = (
    "Four questions are asked of every explainer, by every measure of faithfulness and of known truth, image by image: does its map "
    f"say where (it is held against itself put elsewhere, the mean of {SHIFTS} places, and against itself with flipped signs), of this "
    "image (against its own map of another image of another class), of this model (against its own map of the model with the weights "
    "of all layers in random order, and the map must change when those of the last layer are; not asked of known truth), and more than "
    "the image alone shows (against edges, colour contrast, the other images' mean contrast and a blob in the middle; all must be "
    "beaten, each by the score or by what the place adds, the score less that of the same map elsewhere, since a map of another texture "
    "may win or lose by its texture alone; p is doubled for the two ways). A question is "
    f"passed where the mean paired difference lies on the good side of zero, one-sided p below {LEVEL:g}, and is at least the "
    "smallest effect that counts; it is failed where the difference is shown to be smaller than that (one-sided, corrected for all that "
    "could fail any explainer), or where there is none at all; else it is undecided. The first three must be passed by every live "
    "measure that they are asked of, and the fourth by "
    "one at least that notices flipped signs, corrected for their number. An explainer is trusted where it passes all four; since it "
    "must pass every one, each is tested at the level itself, and Holm's procedure corrects for the number of explainers. Controls are "
    "never trusted. A measure that does not tell a map made from the model's own answers (or the known evidence) from the same map "
    "elsewhere is silent here, and one that tells them so faintly that a map as good would not be shown to pass with this many images, "
    f"four times in five, is too weak here; neither is asked. Nor is a measure asked whether a map is of this image, or of this "
    "model, where the map made from the model's own answers would itself not be shown to pass; where only measures that are blind to signs "
    "would be left, none is. The recommended one is the trusted explainer of the best standing on every "
    f"other image, if it passes on the rest. Curves are compared with {NULL_STEPS} steps. Maps are called unstable when noise too small to "
    f"see changes them by more than {FRAGILE:.0%} of their size, fragile when less of them is left under an attack than under noise of "
    "its size, the 95% intervals being apart."
)


def verdict(
    summary: pl.DataFrame,
    images: int,
    answers: Answers,
    model: Sequence[Sentence] = (),
    alike: pl.DataFrame | None = None,
    costs: Mapping[str, float] | None = None,
) -> tuple[Sentence, ...]:
    """Sentences for the top of the report, most important first.

    Args:
        summary: As `summarise` makes it, with each measure's kind and statistic.
        images: Number of images scored.
        answers: What the questions come to, nothing being trusted where the model is not sound.
        model: What must be known of the model before.
        alike: As `assay.study.audit.nulls.agreements` makes it.
        costs: Passes that a map takes, by explainer, where they are known.
    """
    explainers = list(dict.fromkeys(summary["explainer"]))
    found = [*model, *_first(answers), *_each(answers, explainers), *_measures(answers), *_front(summary, answers, costs or {})]
    found += _agreement(answers, alike)
    rest = [*_localisation(summary, answers), *_robustness(summary), *_attacked(summary), *_not_attacked(summary, images)]
    # Nothing reads as good news beside explainers that are not trusted.
    found += [Sentence("note", one.text) if one.tone == "good" and not answers.trusted else one for one in rest]
    if images < FEW:
        scored = f"{_count(images, 'image')} {'was' if images == 1 else 'were'}"
        text = f"Only {scored} scored: intervals are wide; take {FEW} or more before you rely on this."
        found.append(Sentence("caution", text))
    return tuple(found)


def _first(answers: Answers) -> list[Sentence]:
    """Which explainer to use, or that none is."""
    if answers.recommended:
        stands = {one: answers.standing[answers.recommended, one] for one in answers.seeing}
        told = worded([f"{_stand(value)} by {name}" for name, value in stands.items()])
        many = len(answers.trusted) > 1
        start = "of what is trusted it stands highest on one half of the images, and it" if many else "on one half of the images alone it"
        more = "; that it is better than the others is not shown by this" if many else ", too"
        text = (
            f"Use {answers.recommended} here: {start} passes every question{' on the other half alone' * many}{more}. From its own map put "
            f"elsewhere (0) to a map made from the model's own answers (1) it stands at {told}."
        )
        return [Sentence("good", text)]
    if answers.trusted:
        return [
            Sentence(
                "caution",
                "No recommendation: what stands highest on one half of the images does not pass every question on the other half alone.",
            )
        ]
    return [Sentence("bad", "None of these explainers is shown to be trustworthy here.")]


def _each(answers: Answers, explainers: Sequence[str]) -> list[Sentence]:
    """One sentence for the trusted, and one for each other explainer."""
    found = []
    if answers.trusted:
        they = "It says" if len(answers.trusted) == 1 else "They say"
        text = f"Trusted: {worded(list(answers.trusted))}. {they} where, in this image, of this model"
        losing = [
            f"{name} by {worded(worse)}"
            for name in answers.trusted
            if (worse := [one for one in answers.alive if _loses(answers, name, one)])
        ]
        more = f" (not shown, though, of {worded(losing)})" if losing else ""
        found.append(Sentence("good", f"{text}, and more than the image alone shows{more}."))
    if not answers.alive:
        return found
    return found + [_sentence(answers, name) for name in explainers if name not in answers.trusted]


def _loses(answers: Answers, name: str, measure: str) -> bool:
    row = answers.table.filter((pl.col("explainer") == name) & (pl.col("measure") == measure) & (pl.col("question") == QUESTIONS[-1]))
    return bool(len(row)) and row["holds"][0] is not True


def _sentence(answers: Answers, name: str) -> Sentence:
    """What one explainer that is not trusted says and does not say."""
    status = {question: answers.status(name, question) for question in QUESTIONS}
    said = [_SAYS[question] for question in QUESTIONS if status[question] == "passes"]
    start = f"{name}: it says {', and '.join(said)}" if said else f"{name}:"
    failed = [question for question in QUESTIONS if status[question] == "fails"]
    lost = [(_NO_BETTER if _no_better(answers, name, question) else _TOO_LITTLE)[question] for question in failed]
    unsure = [question for question in QUESTIONS if status[question] == "undecided"]
    parts = []
    if unsure:
        many = answers.needed.get(name)
        would = f", about {many:,} would do" if many and many > answers.images else ""
        parts.append(f"undecided with {_count(answers.images, 'image')}{would}: {worded([_ASKS[one] for one in unsure])}")
    opened = [question for question in QUESTIONS if status[question] == "open"]
    if opened:
        parts.append(f"open, since there is nothing to hold it against: {worded([_ASKS[one] for one in opened])}")
    if lost:
        tone: Tone = "caution" if [one for one in QUESTIONS if status[one] != "passes"] == [QUESTIONS[-1]] else "bad"
        return Sentence(tone, f"{start}{', but ' if said else ' '}{'; '.join([*lost, *parts])}.")
    if not parts and name in answers.together:
        text = f"{start}, but that it passes all of it at once is not shown after the correction for {answers.tests} explainers"
        return Sentence("caution", f"{text}; take more images.")
    if not parts:
        return Sentence(
            "note", f"{start}; it is a map to hold others against, or of a model that is not to be explained, and is not trusted."
        )
    return Sentence("caution", f"{start}{'; ' if said else ' '}{'; '.join(parts)}.")


def _no_better(answers: Answers, name: str, question: str) -> bool:
    """Whether a map that fails a question is shown to be no better than what it is held against: the interval's better end is not above 0.

    Of random weights, whether it is the same: a map that does worse than that has changed. By one measure; for the last question by all.
    """
    rows = answers.rows(name, question).filter(~pl.col("holds"))
    ends = rows["difference"].abs() if question == QUESTIONS[2] else rows["high"]
    return bool((ends <= 0).all() if question == QUESTIONS[-1] else (ends <= 0).any())


def _words(*of_each: str) -> Mapping[str, str]:
    """Words for the four questions, in order."""
    return dict(zip(QUESTIONS, of_each, strict=True))


_SAYS = _words("where", "in this image", "of this model", "more than the image alone shows")
_NO_BETTER = _words(
    "its map put elsewhere, or with flipped signs, does as well: it does not say where",
    "its map of another image does as well: it does not explain this image",
    "hardly changes when the model's weights are random: it does not explain this model",
    "the image alone does as well: it says no more than that",
)
"""What is said of an explainer that is shown to be no better than what a question holds it against."""
_TOO_LITTLE = _words(
    "it beats its map put elsewhere, or with flipped signs, by less than counts, if at all: it does not say where",
    "it beats its map of another image by less than counts, if at all: it does not explain this image",
    "it beats its map of the model with random weights by less than counts, if at all: it does not explain this model",
    "it beats the image alone by less than counts, if at all: it says no more than that",
)
"""What is said of one whose difference is shown to be below the smallest effect that counts."""
PASSING = _words("says where", "is of this image", "is of this model", "says more than the image alone")
"""What is said of an explainer that passes a question."""
FAILING = _words("does not say where", "is not of this image", "is not of this model", "says no more than the image alone")
"""What is said of one that is shown to fail it."""
_ASKS = {question: f"whether it {told}" for question, told in PASSING.items()}


def _measures(answers: Answers) -> list[Sentence]:
    """What the measures cannot tell here."""
    found = []
    if not answers.table.height:
        text = "No question could be asked: no measure of faithfulness or of known truth was given, or no image scored."
        found.append(Sentence("caution", text))
    elif not answers.alive and not answers.silent and not answers.faint:
        text = f"{_count(answers.images, 'image')} cannot show whether the measures tell anything here, so nothing is decided"
        found.append(Sentence("caution", f"{text}; take {FEW} or more."))
    if answers.silent:
        tell, it = ("tells", "It counts") if len(answers.silent) == 1 else ("tell", "They count")
        text = (
            f"{worded(list(answers.silent))} {tell} nothing on these images: a map made of the model's own answers, or the known evidence,"
        )
        found.append(Sentence("caution", f"{text} scores no better than the same map put elsewhere. {it} for nothing here."))
    if answers.faint:
        verb, it = ("is", "It is") if len(answers.faint) == 1 else ("are", "They are")
        text = (
            f"{worded(list(answers.faint))} {verb} too weak for {_count(answers.images, 'image')}: by so many, a map as good as one made "
        )
        text += f"of the model's own answers would not be shown to pass. {it} not asked; more images would make a difference."
        found.append(Sentence("caution", text))
    weak: dict[tuple[str, ...], list[str]] = {}
    for question, names in answers.weak.items():
        if names:
            weak.setdefault(tuple(names), []).append(PASSING[question])
    for own, asks in weak.items():
        text = f"By {worded(list(own))} it is not asked whether a map {worded(asks)}: with {_count(answers.images, 'image')} that would "
        found.append(Sentence("note", f"{text}not be shown even of a map as good as one made of the model's own answers."))
    if answers.alive and not answers.seeing:
        faithful = [one for one in answers.alive if one in answers.faithful]
        text = f"{worded(faithful)} would not notice a map whose signs are flipped" if faithful else "Nothing measured what the model uses"
        found.append(Sentence("caution", f"{text}, so nothing is trusted; measure by Deletion or SingleDeletion too."))
    full = [f"{many} of {answers.images} by {name}" for name, many in answers.saturated.items() if many]
    if full:
        found.append(Sentence("note", f"Images on which every map scores the same, so that they tell nothing: {worded(full)}."))
    return found


def _front(summary: pl.DataFrame, answers: Answers, costs: Mapping[str, float]) -> list[Sentence]:
    """What is left to choose from among several trusted explainers, by means, and what each of the others loses to."""
    if len(answers.trusted) < 2:
        return []
    rows = summary.filter((pl.col("kind") == "robustness") & pl.col("explainer").is_in(answers.trusted))
    measure = next(iter(rows["measure"]), None)
    robust = {row["explainer"]: row for row in rows.iter_rows(named=True) if row["measure"] == measure}
    goods, told = {}, {}
    for name in answers.trusted:
        stands = [answers.standing.get((name, one), math.nan) for one in answers.seeing]
        stand, own, passes = sum(stands) / len(stands), robust.get(name, {"mean": math.nan, "higher_is_better": True}), costs.get(name)
        goods[name] = (stand, own["mean"] if own["higher_is_better"] else -own["mean"], math.nan if passes is None else -passes)
        parts = [f"stands at {_stand(stand)}", *([] if math.isnan(own["mean"]) else [f"{measure} {own['mean']:.2f}"])]
        told[name] = ", ".join([*parts, *([] if passes is None else [f"{passes:g} passes"])])
    lost = dominated(goods)
    kept = "; ".join(f"{name} ({words})" for name, words in told.items() if name not in lost)
    what = f"faithfulness, robustness (by {measure}) and cost" if measure else "faithfulness and cost (robustness was not measured)"
    text = f"Left to choose from by means of {what}: {kept}."
    if lost:
        losers = {winner: [name for name in lost if lost[name] == winner] for winner in lost.values()}
        dropped = (f"{worded(own)}, which {_are(own)} better than {winner} in none of them" for winner, own in losers.items())
        text += f" Dropped: {'; '.join(dropped)}."
    return [Sentence("note", text)]


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _of_trusted(answers: Answers, alike: pl.DataFrame | None) -> pl.DataFrame:
    """How alike trusted explainers' maps are."""
    if alike is None or len(answers.trusted) < 2:
        return pl.DataFrame()
    return alike.filter(pl.col("first").is_in(answers.trusted) & pl.col("second").is_in(answers.trusted))


def least_alike(answers: Answers, alike: pl.DataFrame | None) -> Mapping[str, Any] | None:
    """The two trusted explainers that have least in common: first, second, and means of spearman and overlap; None without two.

    Args:
        answers: What the questions come to.
        alike: As `assay.study.audit.nulls.agreements` makes it.
    """
    own = _of_trusted(answers, alike)
    if own.is_empty():
        return None
    pairs = own.group_by("first", "second", maintain_order=True).agg(pl.col("spearman").mean(), pl.col("overlap").mean())
    return pairs.sort("overlap").row(0, named=True)


def _agreement(answers: Answers, alike: pl.DataFrame | None) -> list[Sentence]:
    """Whether the trusted explainers agree with each other."""
    own, least = _of_trusted(answers, alike), least_alike(answers, alike)
    if least is None:
        return []
    pair = (
        f"{least['first']} and {least['second']}, which have {least['overlap']:.0%} of their top tenth of the pixels in common and a "
        f"rank correlation of {_rounded(least['spearman'])}"
    )
    if least["overlap"] >= AGREEING:
        return [Sentence("note", f"The trusted explainers agree with each other, least {pair}.")]
    worst = own.group_by("image", maintain_order=True).agg(pl.col("overlap").mean()).sort("overlap", maintain_order=True)["image"].head(3)
    images = worded(map(str, worst))
    return [Sentence("caution", f"The trusted explainers disagree, most {pair}. The images on which they do so most are {images}.")]


def _stand(value: float) -> str:
    return "n/a" if math.isnan(value) else _rounded(value)


def _rounded(value: float) -> str:
    """With two decimals, and no sign before zero."""
    return f"{round(value, 2) + 0.0:.2f}"


def _localisation(summary: pl.DataFrame, answers: Answers) -> list[Sentence]:
    """Which explainers agree best with known evidence: those not shown to be worse than the top."""
    found = []
    for (measure,), rows in summary.filter(pl.col("kind") == "localisation").drop_nans("mean").group_by("measure", maintain_order=True):
        best = rows.sort("mean", descending=bool(rows["higher_is_better"][0])).row(0, named=True)
        names = [name for name in answers.best.get(str(measure), ()) if name != best["explainer"]]
        interval = "" if math.isnan(best["low"]) else f" ({best['low']:.2f} to {best['high']:.2f})"
        text = f"Against known evidence, by {measure}, {best['explainer']} agrees best: {best['mean']:.2f}{interval}"
        text += f", a random map {best['floor']:.2f}."
        if names:
            text += f" Not shown to be worse: {worded(names)}."
        lost = rows.filter(~pl.col("verdict").is_in([BETTER, ""]))["explainer"].to_list()
        if lost:
            text += f" Not shown to be better than random: {worded(lost)}."
        found.append(Sentence("note" if best["verdict"] in (BETTER, "") else "bad", text))
    return found


def _robustness(summary: pl.DataFrame) -> list[Sentence]:
    rows = summary.filter(pl.col("statistic") == "MaxSensitivity").drop_nans("mean")
    if rows.is_empty():
        return []
    unstable = [f"{row['explainer']} ({row['mean']:.0%})" for row in rows.iter_rows(named=True) if row["mean"] > FRAGILE]
    if not unstable:
        # Said only where the intervals' own ends say so.
        if not all(row["high"] <= FRAGILE for row in rows.iter_rows(named=True)):
            text = "Noise too small to see is not shown to change any explainer's maps by more, or by less, than half of their size."
            return [Sentence("note", text)]
        return [Sentence("good", "Noise too small to see changes no explainer's maps by more than half of their size.")]
    text = f"Unstable: noise too small to see changes the maps of {worded(unstable)} by more than half of their size."
    return [Sentence("caution", text)]


def _attacked(summary: pl.DataFrame) -> list[Sentence]:
    """Which explainers keep less of their maps under an attack than under noise of its size; intervals must not overlap."""
    rows = summary.drop_nans(["low", "high"])
    noise = pl.col("statistic") == AFTER_NOISE
    floor = {row["explainer"]: row["low"] for row in rows.filter(noise).sort("low", descending=True).iter_rows(named=True)}
    fragile: dict[str, float] = {}
    for row in rows.filter(pl.col("statistic") == ATTACKED).iter_rows(named=True):
        name = row["explainer"]
        if row["high"] < floor.get(name, -math.inf):
            fragile[name] = min(row["mean"], fragile.get(name, math.inf))
    if not floor:
        return []
    if not fragile:
        return [Sentence("note", "No attack is shown to take more of any explainer's maps than noise of its size does.")]
    left = [f"{name} ({mean:.0%} left)" for name, mean in fragile.items()]
    return [Sentence("bad", f"Fragile: attacks that keep the prediction take more than noise of their size of the maps of {worded(left)}.")]


def _not_attacked(summary: pl.DataFrame, images: int) -> list[Sentence]:
    """Which attacks could not be made on which explainers, for want of a gradient to climb; what stays then is not robust by that."""
    found = []
    for row in summary.filter(pl.col("statistic") == ATTACKED).iter_rows(named=True):
        if row["count"] == images:
            continue
        some = "all images" if not row["count"] else f"{images - row['count']} of {_count(images, 'image')}"
        found.append(
            Sentence(
                "caution",
                f"Not attacked: {row['measure']} found no gradient to climb through {row['explainer']} on {some} (none there, or no second "
                "derivative in the network), so nothing is known of robustness there; a BlackBoxMapAttack needs none.",
            )
        )
    return found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
