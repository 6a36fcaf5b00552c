"""`assay demo`: a first audit, on images and a network that come with the package."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from assay.cli import options
from assay.cli.app import app
from assay.cli.audit import tell
from assay.cli.progress import bar
from assay.cli.study import tell as tell_study

__all__ = ["demo"]

_DIET = "diet"
"""Folder of DiET's part."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write; an earlier demo's files there are replaced.")] = Path("assay-demo"),
    count: Annotated[int, typer.Option(min=2, help="Number of images.")] = 32,
    seed: options.Seed = 0,
) -> None:
    """Audit the robustness paper's six explainers on Hard Digits, then tune the network by DiET; the evidence is known, no download."""
    from assay.models.checkpoint import load
    from assay.study.audit import audit_source, plan
    from assay.study.diet import study
    from assay.study.diet_presets import demo as settings

    chosen = options.inputs("hard-digits", "test", None, count, seed)
    options.check_folder(out, empty=False)
    work = plan(load("hard-digits"), count, seed=seed, masks=chosen.dataset.mask_kinds)
    link = ("Next: the same network tuned by DiET until its masks show what it uses", f"{_DIET}/report.html")
    with bar() as progress:
        found = audit_source(work, chosen, chosen.record, "the shipped hard-digits network", progress=progress)
        found = replace(found, page=replace(found.page, further=(link,)))
        found.save(out)
        shutil.rmtree(out / _DIET, ignore_errors=True)
        tuned = study(settings(seed), out / _DIET, progress)
    tell(found.summary, found.page.verdict, len(found.page.problems), out / "report.html")
    tell_study(tuned)
