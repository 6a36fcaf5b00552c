"""A finished study as a page of documents: numbers and our own plots, no image of the data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.core.whole_files import replacing
from assay.errors import DataError
from assay.papers.files import RESULTS
from assay.report.record_answers import CHECKLIST
from assay.run.paths import ENVIRONMENT

__all__ = ["publish_study"]

_PACKAGES = ("python", "torch", "timm", "numpy")


def publish_study(
    run: Path,
    docs: Path,
    stem: str,
    head: Callable[[Mapping[str, Any]], Sequence[str]],
    tables: Mapping[str, Sequence[str]],
    hidden: Sequence[str] = (),
) -> Path:
    """Write `STEM.md` with the run's verdict, tables, plots and answers, and its plots and CSV files beside it.

    Args:
        run: The folder of a finished study.
        docs: A folder; made if it is not there.
        stem: The page's name.
        head: Lines before the numbers, from what `results.json` holds.
        tables: Names of the tables, and of the plots, without images of the data, that follow each.
        hidden: Parts of the setup that are too long for the page.

    Returns:
        The page.

    Raises:
        DataError: A file cannot be read or written.
    """
    page = docs / f"{stem}.md"
    try:
        docs.mkdir(parents=True, exist_ok=True)
        parts = ["\n".join([*head(json.loads((run / RESULTS).read_text("utf-8"))), "", "## Numbers", ""])]
        for name, plots in tables.items():
            table = run / "tables" / f"{name}.md"
            if not table.exists():
                continue
            parts.append(table.read_text("utf-8"))
            shutil.copyfile(table.with_suffix(".csv"), docs / f"{stem}-{name}.csv")
            for plot in (run / "figures" / f"{one}.svg" for one in plots):
                if plot.exists():
                    shutil.copyfile(plot, docs / f"{stem}-{plot.name}")
                    parts.append(f"![{plot.stem}]({stem}-{plot.name})\n")
        parts.append("\n".join(_answers(json.loads((run / ENVIRONMENT).read_text("utf-8")), hidden)))
        with replacing(page) as draft:
            draft.write_text("\n".join(parts), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write the study's page to {docs}: {error.strerror or error}") from error
    return page


def _answers(record: Mapping[str, Any], hidden: Sequence[str]) -> Iterator[str]:
    """The seven questions with short answers; exact splits and all packages are in the run's environment.json."""
    data = (f"{part} `{one['spec']}` (SHA-256 {one['sha256'][:12]})" for form in record["data"].values() for part, one in form.items())
    splits = (f"{part}: {_count(images)}" for form in record["splits"].values() for part, images in form.items())
    packages = {name: record["packages"][name] for name in _PACKAGES if name in record["packages"]}
    found = {
        "algorithm": "; ".join(f"`{spec}` ({source})" for spec, source in record["algorithm"].items()),
        "code": _pairs(record["code"]),
        "data": "; ".join(data),
        "splits": "; ".join(splits),
        "machine": _pairs(record["machine"]),
        "packages": _pairs(packages),
        "setup": "; ".join(f"{key}: `{json.dumps(value)}`" for key, value in record["setup"].items() if key not in hidden),
    }
    yield from ("## The seven questions of reproducible research", "")
    yield from (f"- **{CHECKLIST[key][0]}.** {answer}." for key, answer in found.items())
    yield ""


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _count(images: Any) -> str:
    """A list of images as their number: the run's record has the list itself."""
    return f"{len(images)} images" if isinstance(images, list) else str(images)
