"""`assay demo`: a first audit, on images and a network that come with the package."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.progress_bar import bar
from assay.cli.studies import tell_report
from assay.cli.tasks import options

__all__ = ["demo"]

_DIET = "diet"
"""Folder of DiET's part."""
_AUDIT = ("answers.csv", "environment.json", "report.html", "scores.parquet", "status.csv", "summary.csv")
"""What `Audit.save` writes."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write: new, empty, or that of an earlier demo.")] = Path("assay-demo"),
    count: Annotated[int, typer.Option(min=2, help="Number of images.")] = 32,
    seed: options.Seed = 0,
) -> None:
    """Audit the robustness paper's six explainers on Hard Digits, then tune the network by DiET; the evidence is known, no download."""
    from assay.data import HardDigits
    from assay.models.sources.checkpoint import load
    from assay.papers.diet.presets import demo_settings as settings
    from assay.papers.diet.study import run_diet
    from assay.study.audit.study import AuditStudy
    from assay.study.study import Asked, run

    chosen = options.selection(HardDigits(), "hard-digits", count, seed)
    _check_own(out, seed)
    masks = chosen.dataset.mask_kinds
    asked = Asked(load("hard-digits"), chosen, seed, "the shipped hard-digits network", chosen.record, masks=masks)
    link = ("Next: the same network tuned by DiET, and how far its masks can be relied on", f"{_DIET}/report.html")
    with bar() as progress:
        report = run(AuditStudy(), asked, progress=progress)
        assert report is not None
        audit = report.found()
        replace(audit, page=replace(audit.page, further=(link,))).save(out)
        tuned = run_diet(settings(seed), out / _DIET, progress)
    tell_report(report, out)
    tell_report(tuned, out / _DIET)


def _check_own(out: Path, seed: int) -> None:
    """See that the folder is new, empty or an earlier demo's of this version and seed, and can be written.

    Raises:
        DataError: It is not.
    """
    from assay.core.whole_files import check_destination
    from assay.errors import DataError
    from assay.run.status import read_document

    strange = [name for name in check_destination(out) if name not in (*_AUDIT, _DIET)]
    if strange:
        raise DataError(f"{out} already holds {strange[0]} and is no demo's; name an empty or new folder")
    if (out / _DIET).exists():
        document = read_document(out / _DIET)
        if (document.get("assay"), document["settings"].get("seed")) != (version("assay"), seed):
            raise DataError(f"{out} holds a demo of another version or seed; name an empty or new folder")
