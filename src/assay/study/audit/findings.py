"""What all blocks of an audit say together: summary, verdict and report, read from the blocks' tables one after another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from assay.core.registry import short
from assay.measure.attacked import AttackedSimilarity
from assay.models.classifier import Classifier
from assay.models.labels import Labels
from assay.report.attack_views import Attacks, AttackView
from assay.report.page import Page, Section, Sentence
from assay.report.questions import QuestionCell, QuestionRow, Questions
from assay.report.summary import MeasureNote, MeasureNotes, ScoreStrips, ScoreTable, Summary
from assay.report.text import plural
from assay.study.attack.shown import shown_attacks
from assay.study.audit.answers import Answers, answer
from assay.study.audit.evidence_parts import agreement_part, standings_part, trade_offs_part
from assay.study.audit.looks import model_looks, model_sentences
from assay.study.audit.questions.held import QUESTIONS
from assay.study.audit.scores import AuditPlan
from assay.study.audit.screen import Judged, screen
from assay.study.audit.shown import shown
from assay.study.audit.statistics import summarise
from assay.study.audit.verdict import VERDICT_RULES, verdict
from assay.study.gallery_images import gallery, places
from assay.study.study import Asked, Done
from assay.study.tally import Tally

__all__ = ["audit_page", "judged"]

_ATTACKED = 3
"""Images that a report shows under attack."""
_STANDINGS = {"explainer": pl.String, "measure": pl.String, "standing": pl.Float64, "standing_low": pl.Float64, "standing_high": pl.Float64}
_LEAD = (
    "An explainer colours the pixels that, it claims, made the model decide as it did. This page shows which of these claims hold up. "
    "Every explainer is scored on the same images by every measure, and so is a random map made of noise: an explainer that does no "
    "better than noise tells nothing, by that measure, about this model."
)
_ASKED = (
    "Does the map say where (it is held against itself put elsewhere, and with its signs flipped), is it of this image (against the same "
    "explainer's map of another image), of this model (against its map of the model with random weights), and does it say more than the "
    "image alone shows (against edges, colour contrast and a blob in the middle)? A question fails where the difference is shown to be "
    "smaller than counts; what is shown neither to pass nor to fail is undecided. The figures behind each answer, one line a measure: the "
    "mean difference, image by image, with its corrected interval, its size in standard deviations, and the corrected p."
)
_STANDS = "Raw scores have no common scale. Here each is placed between a map that knows nothing of where and one that has the answer."
_TRADES = (
    "A map that never moves may say nothing, and a map that says much may be easy to bend. Further right is more robust, further up more "
    "faithful; lines are 95% intervals."
)
_AGREES = (
    "How much of their top tenth of the pixels two explainers have in common. Two unrelated maps share about 10%. Explainers that agree "
    "may still be wrong together; where trusted ones do not, look at the images."
)


def judged(plan: AuditPlan, asked: Asked, done: Done) -> Judged:
    """What the tables of all blocks come to."""
    assert done.tally.first is not None
    explainers, ups = list(map(short, plan.explainers)), [one.higher_is_better for one in plan.measures]

    def pieces() -> Iterator[np.ndarray]:
        for part in done.parts("scores"):
            yield part["value"].to_numpy().reshape(-1, len(explainers) + 1, len(ups))

    facts = {name: (one.category, one.statistic) for name, one in zip(plan.labels, plan.measures, strict=True)}
    summary = summarise(pieces, explainers, dict(zip(plan.labels, ups, strict=True))).with_columns(
        pl.col("measure").replace_strict({name: one[place] for name, one in facts.items()}, return_dtype=pl.String).alias(column)
        for place, column in enumerate(("kind", "statistic"))
    )
    notes = {
        name: MeasureNote(
            one.category,
            "higher is better" if one.higher_is_better else "lower is better",
            one.meaning,
            one.reference,
            isinstance(one, AttackedSimilarity),
        )
        for name, one in zip(plan.labels, plan.measures, strict=True)
    }
    labels = asked.labels(done.tally.first)
    first, sound = _model(asked, done, labels)
    told = _answered(plan, done)
    if not sound:
        told = replace(told, trusted=(), recommended=None)
    alike = pl.concat([pl.DataFrame(), *done.parts("agreement")]) if len(told.trusted) > 1 else None
    stands = pl.DataFrame(
        [(*key, one.mean, one.low, one.high) for key, one in told.stands.items()], _STANDINGS, orient="row", nan_to_null=False
    )
    summary = summary.join(stands, on=["explainer", "measure"], how="left", maintain_order="left")
    said = verdict(summary, done.tally.sound, told, first, alike)
    return Judged(summary, notes, told, done.tally, labels, tuple(first), alike, said)


def audit_page(plan: AuditPlan, asked: Asked, done: Done, found: Judged) -> Page:
    """The report, ready to be written."""
    counted, model, explainers = done.tally, asked.model, list(map(short, plan.explainers))
    images, why = shown(plan, asked, done, found.answers, found.labels)
    summary = Summary(found.summary, found.notes, found.answers.best)
    views, questions = _attacked(plan, asked, counted.first or 0, found.labels), _questions(found.answers, explainers)
    scored = bool(found.summary.height)
    sections = [
        Section("Four questions", _ASKED, (Questions(questions),) if questions else (), "questions"),
        Section("From null to control", _STANDS, standings_part(found.answers), "standings"),
        Section("Scores", "", (ScoreTable(summary),) if scored else (), "scores"),
        Section("The same scores as intervals", "", (ScoreStrips(summary),) if scored else (), "intervals"),
        Section("Robustness against faithfulness", _TRADES, trade_offs_part(found.summary, found.answers.trusted), "trade-offs"),
        Section("Do the explainers agree?", _AGREES, agreement_part(explainers, done.parts("agreement")), "agreement"),
        Section("Maps", "", (gallery(images, explainers, list(found.notes), found.labels, why),), "gallery"),
        Section("Attacked maps", "", (Attacks(views),) if views else (), "attacks"),
        Section("What the measures say", "", (MeasureNotes(summary),) if scored else (), "measures"),
    ]
    return Page(
        title="Which explanations of this model can be trusted?",
        kind="audit of explanations",
        facts={
            "Model": asked.name,
            "Images": str(done.answers["data"].get("name")),
            "Scored": _scored(found.summary),
        },
        lead=_LEAD,
        verdict=found.verdict,
        sections=tuple(one for one in sections if one.parts),
        settings={**_settings(plan, asked, counted), **(asked.facts or _accuracy(counted, found.labels, model.head, asked.several))},
        record=done.answers,
        problems=_listed(counted),
        explainers=tuple(explainers),
        rules=VERDICT_RULES,
        cards=screen(found),
    )


def _scored(summary: pl.DataFrame) -> str:
    """How many images, explainers and measures there are."""
    counts = sorted(set(summary["count"]))
    fewer = f" (some scores: {counts[0]})" if len(counts) > 1 else ""
    kinds = (plural(summary[name].n_unique(), name) for name in ("explainer", "measure"))
    return ", ".join([plural(counts[-1], "image") + fewer, *kinds]) if counts else "no image"


def _answered(plan: AuditPlan, done: Done) -> Answers:
    """Answers to the questions, from the tables of maps and what they are held against."""
    items, rated = plan.nulls.items, plan.rated
    parts = [part["value"].to_numpy().reshape(-1, len(items), len(rated)) for part in done.parts("nulls")]
    values = np.concatenate(parts) if parts else np.empty((0, len(items), len(rated)))
    return answer(values, items, rated, {short(one): one.category != "control" for one in plan.explainers}, plan.smallest_effect)


def _model(asked: Asked, done: Done, labels: Labels) -> tuple[list[Sentence], bool]:
    """What must be known of the model first, and whether its maps may be trusted."""
    looks = model_looks(done.parts("classes"), done.parts("flat"))
    if asked.mixed:
        looks.confidence = math.nan
    share, known = labels.accuracy(done.tally.pairs) if done.tally.pairs else (0.0, 0)
    told, sound = model_sentences(asked.model, looks, round(share * known) if known else None, known, asked.seed)
    images, whole, findings, right = done.tally.findings
    if images:
        text = f"The model is right in all findings on {whole} of {images} labelled images, and in {right} of {findings} findings."
        told = [Sentence("note", text), *told]
    return told, sound


def _questions(told: Answers, explainers: Sequence[str]) -> tuple[QuestionRow, ...]:
    """The answers as the report shows them."""
    if not told.table.height:
        return ()
    rows = {(row["explainer"], row["question"], row["measure"]): row for row in told.table.iter_rows(named=True)}
    measures = list(dict.fromkeys(told.table["measure"]))
    why = dict.fromkeys(told.silent, "silent here") | dict.fromkeys(told.faint, "too weak here")
    weak = {(question, one): "too weak here for this question" for question, own in told.weak.items() for one in own}
    return tuple(
        QuestionRow(
            name,
            name in told.trusted,
            name == told.recommended,
            tuple(
                QuestionCell(
                    question,
                    told.status(name, question) if told.alive else "undecided",
                    tuple((one, why.get(one) or weak.get((question, one), ""), rows[name, question, one]) for one in measures),
                )
                for question in QUESTIONS
            ),
        )
        for name in explainers
    )


def _attacked(plan: AuditPlan, asked: Asked, first: int, labels: Labels) -> tuple[AttackView, ...]:
    """A few images of the gallery under each attack; attacks on so few again are cheaper than keeping all that they found."""
    wanted = sorted({first, *places(min(plan.gallery, _ATTACKED), asked.images)})
    each = (shown_attacks(asked, wanted, plan.explainers, one.chosen, one.distance, labels) for one in plan.attacked)
    return tuple(view for views in each for view in views)


def _settings(plan: AuditPlan, asked: Asked, counted: Tally) -> dict[str, str]:
    lost = f" of {counted.images}; the others could not be read" if counted.read < counted.images else ""
    model = asked.model
    return {
        "images": f"{counted.read}{lost}",
        "explained": f"the {_output(model)} of {asked.targets.words}",
        "precision": f"{model.precision} on {model.device.type}",
        **({"what to know of the network": " ".join(model.findings)} if model.findings else {}),
        "seed": str(asked.seed),
        "explainers": "; ".join(map(short, plan.everyone)),
        "measures": "; ".join(map(short, plan.measures)),
        "smallest effect that counts": f"{plan.smallest_effect:g} standard deviations of the paired differences",
        "maps are put elsewhere by": "moving them in a circle" if plan.nulls.null == "shift" else "random phases of their frequencies",
    }


def _output(model: Classifier) -> str:
    return "value" if model.head == "scalar" else model.output.replace("_", " ")


def _accuracy(counted: Tally, labels: Labels, head: str, several: bool) -> dict[str, str]:
    if several:
        images, whole, findings, right = counted.findings
        if not images:
            return {"accuracy": "unknown: the labels' findings are not the model's"}
        return {
            "accuracy": f"{whole / images:.1%} of {images} labelled images in all their findings, {right / findings:.1%} of the findings"
        }
    if not counted.pairs or head == "scalar":
        return {}
    share, known = labels.accuracy(counted.pairs)
    doubt = {"labels": labels.doubt} if labels.doubt else {}
    if not known:
        return {"accuracy": "unknown: the labels' classes are not the model's", **doubt}
    told = f"{share:.1%} of {known} labelled images" + ", the label being the strongest finding" * (head == "sigmoid")
    return {"accuracy": told, **doubt}


def _listed(counted: Tally) -> tuple[tuple[str, str], ...]:
    left = counted.troubled - len(counted.problems)
    return (*counted.problems, *([(f"{left} more", "listed in status.csv")] if left else []))
