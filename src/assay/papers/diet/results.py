"""The DiET study's results as files: report, tables, figures, values, record and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from assay.core.files import replacing
from assay.models.accuracy import Accuracy
from assay.models.sources import checkpoint
from assay.papers.diet.keep import slug
from assay.papers.diet.outcome import Outcome
from assay.papers.diet.settings import DietSettings
from assay.papers.diet.verdict import RULES, Target
from assay.papers.files import RESULTS, Drawing, grid, put, write_drawings, write_tables
from assay.report.export import Table
from assay.report.page import Sentence
from assay.report.study_page import Picture, Section, StudyPage, write_study
from assay.tune.network import PixelNet

__all__ = ["Found", "write_all"]

_TITLE = "Do masks that a model was tuned for tell what it uses?"
_LEAD = (
    "DiET tunes a copy f_v of a classifier f_b until erasing what its masks leave out changes nothing, and learns one mask per image. "
    "This study asks whether f_v still is f_b, whether the masks find evidence whose place is known, how the usual explainers "
    "of f_b do beside them, and what holds beyond the setting that was tuned for."
)
_SECTIONS = (
    (
        "Is the tuned model still the baseline?",
        "Faithfulness of f_v to f_b, on whole images and on what masks leave of them.",
        ("faithfulness", "simplified"),
        (),
    ),
    ("Do the masks find the evidence?", "", ("truth",), ("overlap", "maps")),
    ("Is the class still seen in the top pixels?", "", ("pixels",), ("pixels",)),
    ("What if the background is another one?", "Beyond the paper.", ("backgrounds",), ()),
    ("Do the usual explainers do better on the tuned model?", "Beyond the paper.", ("tuned-maps",), ()),
    ("How the tuning went", "", ("rounds", "steps"), ("rounds", "masks")),
)
"""Heading, text, tables and figures of each part of the report."""


@dataclass(frozen=True, eq=False)
class Found:
    """Everything the study found.

    Attributes:
        outcomes: What the forms of the data came to.
        long: Every value, a row per image.
        tables: All tables.
        drawings: All figures.
        verdict: Plain words, most important first.
        targets: What was expected of the data set.
        record: The seven reproducibility answers.
        seconds: Time of all steps.
    """

    outcomes: tuple[Outcome, ...]
    long: pl.DataFrame
    tables: tuple[Table, ...]
    drawings: tuple[Drawing, ...]
    verdict: tuple[Sentence, ...]
    targets: tuple[Target, ...]
    record: Mapping[str, Any]
    seconds: float


def write_all(found: Found, settings: DietSettings, folder: Path) -> list[str]:
    """Write everything; each file appears whole or not at all. Returns the files' paths within the folder.

    Raises:
        OSError: The folder cannot be written.
    """
    files = write_tables(found.tables, folder)
    drawn, pictures = write_drawings(found.drawings, folder)
    files += drawn
    with replacing(folder / "values.parquet") as draft:
        found.long.write_parquet(draft)
    said = {
        "verdict": [asdict(sentence) for sentence in found.verdict],
        "targets": [asdict(one) | {"met": one.met} for one in found.targets],
    }
    files.append(put(folder, RESULTS, (json.dumps(said, indent=2) + "\n").encode()))
    write_study(_page(found, settings, pictures), folder / "report.html")
    return [*files, "values.parquet", "report.html", *_write_models(found, folder)]


def _write_models(found: Found, folder: Path) -> list[str]:
    """Checkpoints of the models, where the baseline has a card; a model given without one is the user's to keep."""
    (folder / "models").mkdir(exist_ok=True)
    files = []
    for outcome in found.outcomes:
        card = outcome.baseline.card
        if card is None or not isinstance(outcome.baseline.net, PixelNet):
            continue
        several = outcome.variant if len(found.outcomes) > 1 else ""
        cards = {"baseline": (outcome.baseline.net.net, card)}
        for method, tuned in outcome.tuned.items():
            right = next(one for one in outcome.scored if (one.kind, one.part, one.model) == ("model", "test", method)).values["accuracy"]
            assert isinstance(tuned.model, PixelNet)
            measured = Accuracy.of(int(right.sum()), len(right))
            cards[method] = (tuned.model.net, replace(card, recipe=repr(tuned.settings), test_accuracy=measured, stored="float32"))
        for name, (net, own) in cards.items():
            path = folder / "models" / f"{slug(several, name)}{checkpoint.SUFFIX}"
            checkpoint.save(path, net, own, overwrite=True)
            files += [str(one.relative_to(folder)) for one in (path, checkpoint.card_path(path))]
    return files


def _page(found: Found, settings: DietSettings, pictures: Mapping[str, Picture]) -> StudyPage:
    tables = {table.name: grid(table) for table in found.tables}
    sections = []
    for heading, text, grids, figures in _SECTIONS:
        drawn = tuple(picture for name, picture in pictures.items() if any(name == one or name.startswith(f"{one}-") for one in figures))
        shown = tuple(tables[name] for name in grids if name in tables)
        if drawn or shown:
            sections.append(Section(heading, text, shown, drawn))
    sentences = [*found.verdict, *(_sentence(target) for target in found.targets)]
    return StudyPage(
        title=_TITLE,
        lead=_LEAD,
        facts={
            "Data": ", ".join(dict.fromkeys(one.data["test"].name for one in found.outcomes)),
            "Preset": settings.preset,
            "Tuned on": f"{found.outcomes[0].counts['tune']} images",
            "Maps of": f"{found.outcomes[0].counts['test']} test images",
            "Time": f"{found.seconds / 60:.0f} minutes",
        },
        verdict=tuple(sentences),
        rules=RULES,
        sections=tuple(sections),
        settings={key: _text(value) for key, value in settings.model_dump(mode="json").items()},
        record=found.record,
    )


def _sentence(target: Target) -> Sentence:
    word = "met" if target.met else "not met"
    return Sentence(
        "good" if target.met else "bad", f"Target {word}: {target.name} is {target.value:.3f}; at least {target.bound:g} was wanted."
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
