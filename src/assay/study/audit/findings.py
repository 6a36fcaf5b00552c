"""What all blocks of an audit say together: summary, verdict and report, read from the blocks' tables one after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from assay.core.registry import short
from assay.errors import EmptyBatchError, ModelError, NotFiniteError
from assay.models.classifier import Classifier
from assay.report import MeasureNote, Page, Sentence
from assay.report.attack import AttackView
from assay.report.questions import QuestionCell, QuestionRow
from assay.run.blocks import Blocks
from assay.run.paths import UNREAD
from assay.run.sink import Sink
from assay.study.attack.views import shown_attacks
from assay.study.audit.answers import QUESTIONS, Answers, answer
from assay.study.audit.looks import looked, model_sentences
from assay.study.audit.statistics import summarise_pieces
from assay.study.audit.verdict import RULES, verdict
from assay.study.audit.work import OK, Work
from assay.study.gallery import Shown, gallery, places, unpack
from assay.study.labels import Labels, match
from assay.study.source import Source

__all__ = ["Tally", "class_names", "few", "findings", "notes_of", "tally"]

_LISTED = 1000
"""Problems that a report lists; status.csv has all."""
_ATTACKED = 3
"""Images that a report shows under attack."""


@dataclass
class Tally:
    """What the status of all images comes to.

    Attributes:
        images: Images in all.
        read: Images that could be read.
        sound: Images without any problem.
        first: Position of the first image whose output is finite, or None.
        pairs: How many images have each (label, predicted class), where both are known.
        problems: (name, what was wrong), the first thousand.
        troubled: How many have a problem.
    """

    images: int = 0
    read: int = 0
    sound: int = 0
    first: int | None = None
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    troubled: int = 0


def findings(
    work: Work,
    source: Source,
    sink: Sink,
    blocks: Blocks,
    answers: Mapping[str, Any],
    name: str,
    classes: Sequence[str] = (),
) -> tuple[pl.DataFrame, Page, Answers]:
    """The summary, the report ready to be written, and the answers to the verdict's questions.

    Args:
        work: What was done.
        source: The images.
        sink: The tables of all blocks.
        blocks: How the images are cut.
        answers: The seven reproducibility answers.
        name: What the reader calls the model.
        classes: Names of the labels' classes; none when labels are the model's own class numbers.

    Raises:
        EmptyBatchError: No image could be read.
        NotFiniteError: The model gives NaN or infinity for every image.
    """
    counted = tally(sink)
    if not counted.read:
        raise EmptyBatchError(f"no image could be read, so there is nothing to audit: {few(counted)}")
    if counted.first is None:
        raise NotFiniteError(f"the model gives NaN or infinity for every image, so there is nothing to audit: {few(counted)}")
    measures = {label: one.higher_is_better for label, one in zip(work.labels, work.measures, strict=True)}
    explainers = [short(one) for one in work.explainers]
    summary = summarise_pieces(_values(sink, len(explainers) + 1, len(measures)), explainers, measures)
    notes = notes_of(work)
    labels = match(classes, class_names(work.model, source, counted.first))
    first, sound = _model(work, sink, counted, labels)
    told = _answered(work, sink)
    if not sound:
        told = replace(told, trusted=(), recommended=None)
    alike = pl.concat([pl.DataFrame(), *sink.tables("agreement")]) if len(told.trusted) > 1 else None
    page = Page(
        title="Which explanations of this model can be trusted?",
        model=f"{name}, its {_output(work.model)}, in {work.model.precision} on {work.model.device.type}",
        data=str(answers["data"].get("name")),
        verdict=verdict(summary, notes, counted.sound, told, first, alike),
        summary=summary,
        measures=notes,
        gallery=gallery(_shown(work, source, sink, blocks, counted.first), explainers, list(measures), labels),
        settings=_settings(work, counted) | (work.facts or _accuracy(counted, labels, work.model.head)),
        record=answers,
        problems=_listed(counted),
        attacks=_attacked(work, source, counted.first, labels),
        questions=_questions(told, explainers),
        best=told.best,
    )
    return summary, page, told


def tally(sink: Sink) -> Tally:
    """Count the rows of the status tables."""
    found = Tally()
    for part in sink.tables("status"):
        states, names = part["status"].to_list(), part["name"].to_list()
        finite = part["predicted"].is_not_null()
        if found.first is None and finite.any():
            found.first = found.images + int(finite.arg_max() or 0)
        found.images += len(part)
        found.read += sum(not state.startswith(UNREAD) for state in states)
        found.sound += states.count(OK)
        found.troubled += len(states) - states.count(OK)
        wrong = [(name, state.removeprefix(UNREAD)) for name, state in zip(names, states, strict=True) if state != OK]
        found.problems += wrong[: _LISTED - len(found.problems)]
        known = part.drop_nulls(["label", "predicted"])
        found.pairs.update(zip(known["label"].to_list(), known["predicted"].to_list(), strict=True))
    return found


def notes_of(work: Work) -> dict[str, MeasureNote]:
    """What a reader must know of each measure."""
    return {
        name: MeasureNote(one.category, "higher is better" if one.higher_is_better else "lower is better", one.meaning, one.reference)
        for name, one in zip(work.labels, work.measures, strict=True)
    }


def _answered(work: Work, sink: Sink) -> Answers:
    """Answers to the questions, from the tables of maps and what they are held against."""
    items, rated = work.nulls.items, work.rated
    parts = [part["value"].to_numpy().reshape(-1, len(items), len(rated)) for part in sink.tables("nulls")]
    values = np.concatenate(parts) if parts else np.empty((0, len(items), len(rated)))
    return answer(values, items, rated, {short(one): one.category != "control" for one in work.explainers}, work.smallest)


def _model(work: Work, sink: Sink, counted: Tally, labels: Labels) -> tuple[list[Sentence], bool]:
    """What must be known of the model first, and whether its maps may be trusted."""
    looks = looked(sink.tables("classes"), sink.tables("flat"))
    share, known = labels.accuracy(counted.pairs) if counted.pairs else (0.0, 0)
    return model_sentences(work.model, looks, round(share * known) if known else None, known, work.seed)


def _questions(told: Answers, explainers: Sequence[str]) -> tuple[QuestionRow, ...]:
    """The answers as the report shows them."""
    if not told.table.height:
        return ()
    rows = {(row["explainer"], row["question"], row["measure"]): row for row in told.table.iter_rows(named=True)}
    measures = list(dict.fromkeys(told.table["measure"]))
    return tuple(
        QuestionRow(
            name,
            name in told.trusted,
            name == told.recommended,
            tuple(
                QuestionCell(
                    question,
                    told.status(name, question) if told.alive else "undecided",
                    tuple((one, one in told.silent, rows[name, question, one]) for one in measures),
                )
                for question in QUESTIONS
            ),
        )
        for name in explainers
    )


def _values(sink: Sink, everyone: int, measures: int) -> Callable[[], Iterator[np.ndarray]]:
    def pieces() -> Iterator[np.ndarray]:
        for part in sink.tables("scores"):
            yield part["value"].to_numpy().reshape(-1, everyone, measures)

    return pieces


def _shown(work: Work, source: Source, sink: Sink, blocks: Blocks, first: int) -> list[Shown]:
    """The gallery; where no block had a sound image at or after its positions, the first sound image of all."""
    found = [one for part in sink.tables("gallery") for one in unpack(part)]
    if not found:
        rows = blocks.rows(first // blocks.size)
        batch = next(iter(source.read([rows])))
        found = unpack(work.tables(source, rows, batch, lambda _: None, [first])["gallery"])
    return [one for _, one in sorted(found, key=lambda item: item[0])]


def _attacked(work: Work, source: Source, first: int, labels: Labels) -> tuple[AttackView, ...]:
    """A few images of the gallery under each attack; attacks on so few again are cheaper than keeping all that they found."""
    if not work.attacks:
        return ()
    wanted = sorted({first, *places(min(work.gallery, _ATTACKED), work.images)})
    found: list[AttackView] = []
    for one in work.attacks:
        found += shown_attacks(source, wanted, work.model, work.explainers, one.chosen, one.distance, work.seed, labels, work.targets)
    return tuple(found)


def class_names(model: Classifier, source: Source, first: int) -> tuple[str, ...]:
    """Names of the model's classes, also where other processes, or an earlier start, made all passes."""
    try:
        return model.classes
    except ModelError:
        batch = next(iter(source.read([range(first, first + 1)])))
        model.count_classes(batch.images.shape[1:])
        return model.classes


def _settings(work: Work, counted: Tally) -> dict[str, str]:
    lost = f" of {counted.images}; the others could not be read" if counted.read < counted.images else ""
    return {
        "images": f"{counted.read}{lost}",
        "explained": f"the {_output(work.model)} of {work.targets.words}",
        "precision": work.model.precision,
        **({"what to know of the network": " ".join(work.model.findings)} if work.model.findings else {}),
        "seed": str(work.seed),
        "explainers": "; ".join(map(short, work.everyone)),
        "measures": "; ".join(map(short, work.measures)),
        "smallest effect that counts": f"{work.smallest:g} standard deviations of the paired differences",
        "rules of the verdict": RULES,
    }


def _output(model: Classifier) -> str:
    return "value" if model.head == "scalar" else model.output.replace("_", " ")


def _accuracy(counted: Tally, labels: Labels, head: str) -> dict[str, str]:
    if not counted.pairs or head == "scalar":
        return {}
    share, known = labels.accuracy(counted.pairs)
    if not known:
        return {"accuracy": "unknown: the labels' classes are not the model's"}
    return {"accuracy": f"{share:.1%} of {known} labelled images" + ", the label being the strongest finding" * (head == "sigmoid")}


def _listed(counted: Tally) -> tuple[tuple[str, str], ...]:
    left = counted.troubled - len(counted.problems)
    return (*counted.problems, *([(f"{left} more", "listed in status.csv")] if left else []))


def few(counted: Tally, most: int = 3) -> str:
    """The first few problems in words."""
    more = f"; and {counted.troubled - most} more" if counted.troubled > most else ""
    return "; ".join(f"{name}: {text}" for name, text in counted.problems[:most]) + more
