"""A finished DiET study as a page of documents: numbers and our own plots, no image of the data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from assay.core.files import replacing
from assay.errors import DataError
from assay.report.answers import QUESTIONS
from assay.study.diet_results import RESULTS
from assay.study.diet_settings import DietSettings
from assay.study.diet_verdict import RULES
from assay.study.run_files import ENVIRONMENT

__all__ = ["publish"]

_TABLES = ("faithfulness", "simplified", "truth", "pixels", "backgrounds", "tuned-maps", "rounds", "steps")
_PLOTS = {"truth": "overlap", "pixels": "pixels", "rounds": "rounds"}
"""Plots without images of the data, after the tables that they belong to."""


def publish(run: Path, docs: Path, settings: DietSettings) -> Path:
    """Write `diet-DATASET.md` with the run's verdict, tables, plots and answers, and its plots and CSV files beside it.

    Args:
        run: The folder of a finished study.
        docs: A folder; made if it is not there.
        settings: The study's settings.

    Returns:
        The page.

    Raises:
        DataError: A file cannot be read or written.
    """
    stem = f"diet-{settings.dataset}" + ("" if settings.preset == "small" else f"-{settings.preset}")
    page = docs / f"{stem}.md"
    try:
        docs.mkdir(parents=True, exist_ok=True)
        parts = [_head(run, settings)]
        for name in _TABLES:
            table = run / "tables" / f"{name}.md"
            if not table.exists():
                continue
            parts.append(table.read_text("utf-8"))
            shutil.copyfile(table.with_suffix(".csv"), docs / f"{stem}-{name}.csv")
            plot = run / "figures" / f"{_PLOTS.get(name, name)}.svg"
            if name in _PLOTS and plot.exists():
                shutil.copyfile(plot, docs / f"{stem}-{plot.name}")
                parts.append(f"![{_PLOTS[name]}]({stem}-{plot.name})\n")
        parts.append(_answers(json.loads((run / ENVIRONMENT).read_text("utf-8"))))
        with replacing(page) as draft:
            draft.write_text("\n".join(parts), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write the study's page to {docs}: {error.strerror or error}") from error
    return page


def _head(run: Path, settings: DietSettings) -> str:
    said = json.loads((run / RESULTS).read_text("utf-8"))
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
    return "\n".join([*lines, "", f"Rules. {RULES}", "", "## Numbers", ""])


def _answers(record: dict[str, Any]) -> str:
    """The seven questions with short answers; exact splits and all packages are in the run's environment.json."""
    machine, code = record["machine"], record["code"]
    data = [f"{part} `{one['spec']}` (SHA-256 {one['sha256'][:12]})" for form in record["data"].values() for part, one in form.items()]
    splits = [f"{part}: {_count(images)}" for form in record["splits"].values() for part, images in form.items()]
    packages = {name: record["packages"][name] for name in ("python", "torch", "timm", "numpy") if name in record["packages"]}
    found = {
        "algorithm": "; ".join(f"`{spec}` ({source})" for spec, source in record["algorithm"].items()),
        "code": ", ".join(f"{name} {version}" for name, version in code.items()),
        "data": "; ".join(data),
        "splits": "; ".join(splits),
        "machine": ", ".join(f"{name} {value}" for name, value in machine.items()),
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "setup": "; ".join(f"{key}: `{json.dumps(value)}`" for key, value in record["setup"].items() if key not in ("variants", "methods")),
    }
    lines = ["## The seven questions of reproducible research", ""]
    return "\n".join([*lines, *(f"- **{QUESTIONS[key][0]}.** {answer}." for key, answer in found.items()), ""])


def _count(images: Any) -> str:
    """A list of images as their number: the run's record has the list itself."""
    return f"{len(images)} images" if isinstance(images, list) else str(images)
