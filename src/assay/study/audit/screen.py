"""The three answers on an audit's first screen, in words for people who use the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from assay.models.labels import Labels
from assay.report.page import ScreenCard, Sentence
from assay.report.summary import MeasureNote
from assay.report.text import number, plain_names, plural, worded
from assay.study.audit.answers import Answers
from assay.study.audit.questions.held import QUESTIONS
from assay.study.audit.verdict import AGREEING, FAILING, PASSING, least_alike
from assay.study.tally import Tally

__all__ = ["Judged", "screen"]

_USE, _MODEL, _UNKNOWN = (
    "Which explanation can I use here?",
    "What does my model look at, and where does it fail?",
    "What is not known?",
)
_FAILURES, _NO_FAILURE = "; failures stand first in the gallery below.", ", so no failure could be looked at."
_FEW = 30
_CLASSES = 3


@dataclass(frozen=True, eq=False)
class Judged:
    """What an audit's tables come to.

    Attributes:
        summary: One row for each explainer and measure, with the measure's kind and statistic.
        notes: A note for each measure.
        answers: Answers to the verdict's questions.
        tally: What the status of all images comes to.
        labels: Names of labels and classes.
        model: What must be known of the model first.
        alike: As `assay.study.audit.nulls.agreements` makes it, where several explainers are trusted.
        verdict: What to tell, in plain words.
    """

    summary: pl.DataFrame
    notes: Mapping[str, MeasureNote]
    answers: Answers
    tally: Tally
    labels: Labels
    model: tuple[Sentence, ...] = ()
    alike: pl.DataFrame | None = None
    verdict: tuple[Sentence, ...] = ()

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The explainers without what they need not be told apart by, by their specs."""
        return plain_names(list(dict.fromkeys(self.summary["explainer"])))


def screen(found: Judged) -> tuple[ScreenCard, ScreenCard, ScreenCard]:
    """The cards of the three answers."""
    return _use(found), _looks(found), _unknown(found)


def _use(found: Judged) -> ScreenCard:
    answers, names = found.answers, found.names
    lines = tuple(f"{names[spec]}: {_passes(answers, spec)}" for spec in names if answers.alive)
    if answers.recommended:
        many = len(answers.trusted)
        why = (
            "It alone passes every question"
            if many == 1
            else f"Of the {many} that pass every question it scores highest on one half of the images"
        )
        half = ", on one half of the images alone too" if many == 1 else ", and it passes them on the other half alone"
        text = f"Use {names[answers.recommended]}. {why}{half}."
        return ScreenCard(_USE, "good", text, lines)
    if answers.trusted:
        text = f"{worded([names[one] for one in answers.trusted])} passed every question, but no choice among them was confirmed."
        return ScreenCard(_USE, "caution", text, lines)
    return ScreenCard(_USE, "bad", "None of these is shown to be trustworthy on these images. Do not decide anything by these maps.", lines)


def _passes(answers: Answers, spec: str) -> str:
    """What one explainer passed and did not, in a line."""
    told = {question: answers.status(spec, question) for question in QUESTIONS}
    passed = [PASSING[one] + _by(answers, spec, one) for one, status in told.items() if status == "passes"]
    failed = [FAILING[one] for one, status in told.items() if status == "fails"]
    unsure = [PASSING[one] for one, status in told.items() if status in ("undecided", "open")]
    parts = [f"{worded(passed)}" if passed else "", f"shown that it {worded(failed)}" if failed else ""]
    parts.append(f"undecided whether it {worded(unsure)}" if unsure else "")
    return "; ".join(one for one in parts if one)


def _by(answers: Answers, spec: str, question: str) -> str:
    """By which measures a question is passed of which one is enough, where it is not passed by all."""
    own = answers.rows(spec, question)
    shown = [name for name, holds in own.select("measure", "holds").rows() if holds]
    rest = [name for name in own["measure"] if name not in shown]
    return f" (by {worded(shown)}; not shown by {worded(rest)})" if rest else ""


def _looks(found: Judged) -> ScreenCard:
    tally, labels = found.tally, found.labels
    bad = [one.text for one in found.model if one.tone == "bad"]
    share, known = labels.accuracy(tally.pairs) if tally.pairs else (0.0, 0)
    lines = [*bad[1:], *_failures(tally, labels), *_places(found)]
    if bad:
        return ScreenCard(_MODEL, "bad", bad[0], tuple(lines))
    images, whole, findings, right = tally.findings
    if images:
        text = f"It is right in all findings on {whole} of {plural(images, 'labelled image')}, and in {right} of {findings} findings"
        return ScreenCard(_MODEL, "note", text + (_FAILURES if whole < images else _NO_FAILURE), tuple(lines))
    if not known:
        return ScreenCard(
            _MODEL, "note", "Whether it is right cannot be said: the images have no labels that the model knows.", tuple(lines)
        )
    wrong = known - round(share * known)
    text = f"It is right on {known - wrong} of {plural(known, 'labelled image')}"
    text += _FAILURES if wrong else _NO_FAILURE
    return ScreenCard(_MODEL, "note" if share > 0.5 else "caution", text, tuple(lines))


def _failures(tally: Tally, labels: Labels) -> list[str]:
    """Where it fails most: classes by their share of wrong predictions, and what they are taken for."""
    total: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    taken: Counter[tuple[str, str]] = Counter()
    for (label, guess), many in tally.pairs.items():
        name = labels.name_of(label)
        if name:
            total[name] += many
            if name != labels.names[guess]:
                wrong[name] += many
                taken[name, labels.names[guess]] += many
    worst = sorted(wrong, key=lambda name: (-wrong[name] / total[name], name))[:_CLASSES]
    found = []
    for name in worst:
        most = max((pair for pair in taken if pair[0] == name), key=lambda pair: taken[pair])[1]
        found.append(f"Labelled {name}: {wrong[name]} of {total[name]} wrong, most often taken for {most}")
    return found


def _places(found: Judged) -> list[str]:
    """Whether maps lie on the evidence that is known, by explainers that are trusted."""
    notes, answers = found.notes, found.answers
    known = [name for name, note in notes.items() if note.category == "localisation"]
    if not answers.trusted:
        return ["What it looks at is not known: no explanation here is trusted."]
    if not known:
        return ["Whether it looks at the right place cannot be said: nobody marked the evidence in these images (--masks, --boxes)."]
    lines = []
    for measure in known:
        rows = found.summary.filter((pl.col("measure") == measure) & pl.col("explainer").is_in(answers.trusted)).drop_nans("mean")
        if rows.height:
            means = [f"{found.names[spec]} {number(mean, 2)}" for spec, mean in rows.select("explainer", "mean").rows()]
            lines.append(f"{notes[measure].meaning} {', '.join(means)}; a random map {number(rows['floor'][0], 2)} (by {measure})")
    return lines


def _apart(found: Judged) -> list[str]:
    """That what is trusted does not agree, where it does not."""
    least, names = least_alike(found.answers, found.alike), found.names
    if least is None or least["overlap"] >= AGREEING:
        return []
    pair = f"{names[least['first']]} and {names[least['second']]}"
    return [f"Which is right where those that pass differ: {pair} share {least['overlap']:.0%} of their top tenth of the pixels"]


def _unknown(found: Judged) -> ScreenCard:
    answers, names, notes, tally = found.answers, found.names, found.notes, found.tally
    lines = _apart(found)
    if answers.silent:
        lines.append(f"{worded(list(answers.silent))}: cannot tell good maps from bad ones on these images; not counted")
    if answers.faint:
        weak = f"{worded(list(answers.faint))}: too weak to tell good maps from bad ones by {plural(answers.images, 'image')}"
        lines.append(f"{weak}; not asked")
    unasked: dict[tuple[str, ...], list[str]] = {}
    for question, short_of in answers.weak.items():
        if short_of:
            unasked.setdefault(short_of, []).append(PASSING[question])
    for measures, asked in unasked.items():
        lines.append(f"{worded(measures)}: too weak here to tell whether a map {worded(asked, 'or')}; not asked that")
    undecided: dict[str, list[str]] = {}
    for spec in names:
        if answers.alive and any(answers.status(spec, one) == "undecided" for one in QUESTIONS):
            many = answers.needed.get(spec)
            enough = f"about {many:,} images would decide" if many and many > answers.images else "no number of images is known to decide"
            undecided.setdefault(enough, []).append(names[spec])
    for enough, open_ones in undecided.items():
        is_, it = ("are", "them") if len(open_ones) > 1 else ("is", "it")
        lines.append(f"{worded(open_ones)} {is_} undecided; {enough} {it}")
    if tally.sound < _FEW:
        lines.append(f"Only {plural(tally.sound, 'image')}: take {_FEW} or more before you rely on this page")
    if not any(note.attacks for note in notes.values()):
        lines.append("Whether a small change of the image that keeps the prediction can bend the maps was not asked (--attack)")
    if not any(note.category == "localisation" for note in notes.values()):
        lines.append("Whether the maps meet the evidence a person would name was not asked")
    if tally.troubled:
        lines.append(f"{plural(tally.troubled, 'image')} could not be used; listed under Problems")
    lines.append("Other images, other classes and other models: what holds here need not hold there")
    methods = plural(len(names), "explanation method")
    text = f"This page speaks of {plural(tally.sound, 'image')} and {methods}, and of nothing else."
    return ScreenCard(_UNKNOWN, "note", text, tuple(lines))
