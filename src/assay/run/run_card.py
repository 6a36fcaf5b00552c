"""The card of a finished run: what was asked of which data, what came out, within which limits, and how to check it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from assay.errors import DataError
from assay.report.page import Page, Section, Sentence, TextTable
from assay.report.render import render
from assay.report.text import number, plural
from assay.run.paths import ENVIRONMENT
from assay.run.status import read_document, status, written

__all__ = ["Headings", "RunCard", "card"]

Headings = Literal["plain", "annex-iv"]

_PURPOSES = {
    "audit": "Find out which explanations of the model can be trusted on these images.",
    "explain": "Explain what the model says of these images.",
    "attack": "Find out whether small changes of the images that keep the prediction change the explanations.",
    "certify": "Bound how far the explanations of these images can be changed.",
    "frontier": "Find out what robustness of the explanations costs in faithfulness.",
    "tune": "Tune the network until its explanations show what it uses.",
}
_HEADINGS: dict[Headings, tuple[str, ...]] = {
    "plain": ("Purpose", "Model and data", "Results", "Limits", "How to verify"),
    "annex-iv": (
        "1. General description: purpose of this test",
        "2. Elements of the system: model, data and splits",
        "4. Performance metrics: results with intervals",
        "3. Capabilities and limitations",
        "2. Validation and testing: how to verify",
    ),
}
"""Headings; those of the EU AI Act's Annex IV (technical documentation) say where a part would be filed, and claim nothing."""
_NUMBERS = frozenset("0123456789-−–n")
"""How the cells of columns of numbers begin; "n/a" is one."""
_INTERVALS = ("mean", "low", "high")


@dataclass(frozen=True)
class RunCard:
    """A run in the words that are filed.

    Attributes:
        title: Its heading.
        parts: Headings with lines (what, value).
        results: Lines of the summary: texts by column.
        verdict: The verdict's sentences.
    """

    title: str
    parts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    results: tuple[Mapping[str, str], ...]
    verdict: tuple[Sentence, ...]

    def markdown(self) -> str:
        """The card as Markdown."""
        lines = [f"# {self.title}", ""]
        for place, (heading, pairs) in enumerate(self.parts):
            lines += [f"## {heading}", ""]
            lines += [f"- **{name}:** {_escaped(value)}" for name, value in pairs]
            if place == _RESULTS:
                lines += [f"- {one.tone}: {_escaped(one.text)}" for one in self.verdict]
                lines += ["", *_table(self.results)] if self.results else []
            lines.append("")
        return "\n".join(lines)

    def json(self) -> str:
        """The card as JSON."""
        parts = {heading: dict(pairs) for heading, pairs in self.parts}
        told = {"title": self.title, "parts": parts, "verdict": [asdict(one) for one in self.verdict], "results": list(self.results)}
        return json.dumps(told, ensure_ascii=False, indent=2) + "\n"

    def html(self) -> str:
        """The card as one self-contained HTML page."""
        sections = []
        for place, (heading, pairs) in enumerate(self.parts):
            grids = [TextTable("", "", ("what", "value"), tuple(pairs), (False, False))]
            if place == _RESULTS and self.results:
                head = tuple(self.results[0])
                grids.append(
                    TextTable(
                        "Summary.",
                        "95% intervals.",
                        head,
                        tuple(tuple(row.values()) for row in self.results),
                        tuple(all(row[name][:1] in _NUMBERS for row in self.results) for name in head),
                    )
                )
            sections.append(Section(heading, "", tuple(grids)))
        rules = "The verdict of the run, as it was written when it finished."
        return render(Page(self.title, "run card", {}, self.parts[0][1][0][1], self.verdict, rules, tuple(sections)))


_RESULTS = 2


def card(folder: Path, headings: Headings = "plain") -> RunCard:
    """The card of a finished run.

    Args:
        folder: Of any command that can be resumed.
        headings: Plain ones, or those of the EU AI Act's Annex IV.

    Raises:
        DataError: The folder is no run's, is not finished, or its files cannot be read.
    """
    document, found = read_document(folder), status(folder)
    if not found.over:
        raise DataError(f"{folder} is not finished, so that there is nothing to file: go on with `assay run resume {folder}`")
    try:
        record = json.loads((folder / ENVIRONMENT).read_text("utf-8"))
        summary = folder / "summary.csv"
        results = tuple(_lines(pl.read_csv(summary))) if summary.exists() else ()
        verdict = folder / "verdict.json"
        told = tuple(Sentence(**one) for one in json.loads(verdict.read_text("utf-8"))) if verdict.exists() else ()
        states = pl.read_csv(folder / "status.csv")["status"] if (folder / "status.csv").exists() else None
    except (OSError, ValueError, TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(f"cannot read the results of {folder}: {str(error).splitlines()[0]}; `assay run verify` tells more") from error
    files, wrong = written(folder)
    settings, command = document["settings"], document["command"]
    network, data = settings.get("network", {}), settings.get("data", {})
    sound = None if states is None else int((states == "ok").sum())
    limits = [("images", f"{sound} of {len(states)} could be used")] if states is not None else []
    limits += [(one.tone, one.text) for one in told if one.tone in ("caution", "bad")]
    limits.append(("scope", "what is said holds for this model and these images, and for no others"))
    parts = (
        (("command", f"assay {command}, version {document['assay']}"),),
        (
            ("model", str(settings.get("model", "unknown"))),
            *((name, _told(value)) for name, value in network.items()),
            *((f"data, {name}", str(value)) for name, value in data.items()),
            ("splits", plural(found.blocks.images, found.blocks.unit) + f", seed {settings.get('seed')}; exact numbers in {ENVIRONMENT}"),
        ),
        (("verdict", plural(len(told), "sentence")),),
        tuple(limits),
        (
            ("code", ", ".join(f"{name} {value}" for name, value in record.get("code", {}).items())),
            ("machine", ", ".join(f"{name} {value}" for name, value in record.get("machine", {}).items())),
            ("check the files", f"assay run verify {folder.name}"),
            ("files as they were written", "yes" if not wrong else "; ".join(map(str, wrong))),
            *((f"SHA-256 of {name}", digest) for name, digest in sorted(files.items()) if "/" not in name),
        ),
    )
    purpose = ("purpose", _PURPOSES.get(command, f"assay {command}"))
    named = tuple(zip(_HEADINGS[headings], ((purpose, *parts[0]), *parts[1:]), strict=True))
    return RunCard(f"Card of the run {folder.name}", named, results, told)


def _lines(summary: pl.DataFrame) -> list[dict[str, str]]:
    """Rows of a summary, intervals in one cell with their mean."""
    whole = set(_INTERVALS) <= set(summary.columns)
    found = []
    for row in summary.iter_rows(named=True):
        line: dict[str, str] = {}
        for name, value in row.items():
            if whole and name == "mean":
                line["mean (95 % interval)"] = f"{_text(value)} ({_text(row['low'])} to {_text(row['high'])})"
            elif not (whole and name in _INTERVALS):
                line[name.replace("_", " ")] = _text(value)
        found.append(line)
    return found


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def _told(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else _text(value)


def _table(rows: tuple[Mapping[str, str], ...]) -> list[str]:
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([_escaped(text) for text in row.values()] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _escaped(text: str) -> str:
    """No line break, table mark or HTML of a name becomes the page's."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
