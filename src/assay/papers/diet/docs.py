"""A finished DiET study as a page of documents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.papers.diet.settings import DietSettings
from assay.papers.diet.verdict import RULES
from assay.papers.pages import publish_study

__all__ = ["publish"]

_TABLES = {
    "faithfulness": (),
    "simplified": (),
    "truth": ("overlap",),
    "pixels": ("pixels",),
    "backgrounds": (),
    "tuned-maps": (),
    "rounds": ("rounds",),
    "steps": (),
}
"""Tables, with the plots without images of the data that follow them."""


def publish(run: Path, docs: Path, settings: DietSettings) -> Path:
    """Write `diet-DATASET.md`; see `assay.papers.pages.publish_study`.

    Raises:
        DataError: A file cannot be read or written.
    """
    stem = f"diet-{settings.dataset}" + ("" if settings.preset == "small" else f"-{settings.preset}")
    return publish_study(run, docs, stem, lambda said: _head(said, settings), _TABLES, ("variants", "methods"))


def _head(said: Mapping[str, Any], settings: DietSettings) -> list[str]:
    command = f"assay study diet --dataset {settings.dataset} --preset {settings.preset} --seed {settings.seed}"
    lines = [
        f"# DiET on {settings.dataset}",
        "",
        f"Written by `{command}`; the numbers are those of one run on the machine named below.",
        "",
        "## Verdict",
        "",
        *(f"- {sentence['text']}" for sentence in said["verdict"]),
    ]
    if said["targets"]:
        lines += ["", "| expected | found | at least | met |", "|---|---:|---:|---|"]
        lines += [f"| {one['name']} | {one['value']:.3f} | {one['bound']:g} | {'yes' if one['met'] else 'no'} |" for one in said["targets"]]
    return [*lines, "", f"Rules. {RULES}"]
