"""`assay demo`: a first audit, on images and a network that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli import options
from assay.cli.app import app
from assay.cli.audit import tell
from assay.cli.progress import bar

__all__ = ["demo"]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write; an earlier demo's files there are replaced.")] = Path("assay-demo"),
    count: Annotated[int, typer.Option(min=2, help="Number of images.")] = 32,
    seed: options.Seed = 0,
) -> None:
    """Audit the six explainers of the robustness paper on Hard Digits, where the evidence is known; no download."""
    from assay.models.checkpoint import load
    from assay.study.audit import audit_source, plan

    chosen = options.inputs("hard-digits", "test", None, count, seed)
    options.check_folder(out, empty=False)
    work = plan(load("hard-digits"), count, seed=seed, has_truth=True)
    with bar() as progress:
        found = audit_source(work, chosen, chosen.record, "the shipped hard-digits network", progress=progress)
    found.save(out)
    tell(found.summary, found.page.verdict, len(found.page.problems), out / "report.html")
