"""`compare`: two audits, two runs or two models side by side on the same images."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from assay.comparison.comparison_page import comparison_page, comparison_sentences, map_grid, score_grid
from assay.comparison.map_changes import Changes, map_changes
from assay.comparison.paired_scores import paired, predictions
from assay.core.inputs import check_images
from assay.core.listed import built
from assay.core.progress import Progress, silent
from assay.core.registry import short
from assay.core.surroundings import undisturbed
from assay.data.base import Batch
from assay.data.files.convert import as_batch, class_names
from assay.errors import DataError, ImageTypeError
from assay.explain.base import Explainer
from assay.measure.base import Measure
from assay.models.classifier import Classifier
from assay.report.export import to_pandas
from assay.report.faces import Face, fragment
from assay.report.page import Page, Sentence
from assay.report.render import write
from assay.run.paths import ENVIRONMENT
from assay.run.settings_file import differences
from assay.run.status import read_document
from assay.study.asked import Asked
from assay.study.audit.audit import Audit
from assay.study.audit.standard import FLOOR
from assay.study.audit.study import AuditStudy
from assay.study.study import result

__all__ = ["COMPARED_EXPLAINERS", "COMPARED_MEASURES", "Comparison", "compare"]

COMPARED_EXPLAINERS = ("Gradient()", "SmoothGrad()")
COMPARED_MEASURES = ("Deletion()", "Insertion()")
_PICTURES = 4


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two states side by side, paired by image.

    Attributes:
        names: What the two are called.
        table: Scores: a row for each explainer and measure; see `assay.comparison.paired_scores.paired`.
        maps: Map changes: a row for each explainer; see `assay.comparison.map_changes.Changes`; empty where there were no models.
        counts: How the predictions go together; see `assay.comparison.paired_scores.predictions`.
        settings: What the two runs were asked differently: name, first, second.
        page: The report, ready to be written.
    """

    names: tuple[str, str]
    table: pl.DataFrame
    maps: pl.DataFrame
    counts: Mapping[str, int]
    settings: tuple[tuple[str, str, str], ...]
    page: Page

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """The verdict, with its tones."""
        return self.page.verdict

    @property
    def verdict(self) -> tuple[str, ...]:
        """The verdict in plain words."""
        return tuple(one.text for one in self.sentences)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the report as one self-contained HTML file; returns its path.

        Raises:
            DataError: The path cannot be written.
        """
        return write(self.page, path)

    def to_pandas(self, table: str = "table") -> Any:
        """One of the tables (table, maps) as a pandas DataFrame.

        Raises:
            AssayError: There is no such table, or pandas is not installed.
        """
        return to_pandas(self, table, ("table", "maps"))

    def __repr__(self) -> str:
        moved = self.table.filter(pl.col("outcome") != "no change shown").height
        told = f"{moved} of {self.table.height} scores changed, {self.counts['images']} images"
        return f"Comparison({self.names[0]} and {self.names[1]}: {told})"

    def _repr_html_(self) -> str:
        grids = (score_grid(self.table, self.names), *((map_grid(self.maps),) if self.maps.height else ()))
        return fragment(Face(repr(self), self.sentences, grids))


@dataclass(frozen=True, eq=False)
class _Side:
    """What is known of one of the two."""

    name: str
    scores: pl.DataFrame
    status: pl.DataFrame
    record: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)


@undisturbed()
def compare(
    first: Audit | Classifier | str | os.PathLike[str],
    second: Audit | Classifier | str | os.PathLike[str],
    images: Any = None,
    *,
    explainers: Sequence[Explainer | str] = COMPARED_EXPLAINERS,
    measures: Sequence[Measure | str] = COMPARED_MEASURES,
    labels: Tensor | None = None,
    truth: Tensor | None = None,
    names: tuple[str, str] = ("the first", "the second"),
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Put two audits, two run folders of `assay audit`, or two models side by side, paired by image.

    Scores are compared by how far they are from those of a random map, since raw scores of two models are on two scales. Of two models it
    is told too whether their maps of the same class differ by more than the first one's own maps do by seed and by invisible noise.

    Args:
        first: An `Audit`, the folder of a run, or a model.
        second: Of the same kind.
        images: (N, C, H, W) for models, or what else `audit` takes; audits and runs bring their own.
        explainers: For models: what explains them.
        measures: For models: what scores the maps.
        labels: For models: (N,) true classes.
        truth: For models: (N, 1, H, W) masks of the known evidence.
        names: What to call the two.
        seed: For models: decides all randomness.
        progress: Called as work goes on.

    Raises:
        AssayError: The two do not go together, or have no image in common; named in the message.
    """
    if isinstance(first, Classifier) and isinstance(second, Classifier):
        if images is None:
            raise ImageTypeError("two models are compared on images: give images=")
        batch = as_batch(images)
        classes = class_names(images) if labels is None else ()
        batch = replace(batch, labels=batch.labels if labels is None else labels, truth=batch.truth if truth is None else truth)
        return _models((first, second), batch, classes, explainers, measures, names, seed, progress)
    if images is not None or isinstance(first, Classifier) or isinstance(second, Classifier):
        raise ImageTypeError("compare takes two models and images, or two audits or two run folders without images")
    return _compared((_side(first, names[0]), _side(second, names[1])), None, ())


def _models(
    models: tuple[Classifier, Classifier],
    batch: Batch,
    classes: Sequence[str],
    explainers: Sequence[Explainer | str],
    measures: Sequence[Measure | str],
    names: tuple[str, str],
    seed: int,
    progress: Progress,
) -> Comparison:
    chosen, images = built("explainer", explainers, Explainer), check_images(batch.images)
    # Both explain what the first predicts, since maps of two classes differ for that alone.
    targets = models[0].predict(images)
    study = AuditStudy(explainer=tuple(chosen), measure=tuple(built("measure", measures, Measure)))
    audits = [
        result(
            study,
            Asked.given(one, images, targets, seed, batch.index, batch.names).beside(batch.labels, batch.truth, None, classes),
            progress,
        )
        for one in models
    ]
    place = models[0].device
    found = map_changes(*models, chosen, images.to(place), targets.to(place), batch.index.to(place), seed, progress)
    return _compared((_side(audits[0], names[0]), _side(audits[1], names[1])), found, images[:_PICTURES].cpu())


def _side(given: object, name: str) -> _Side:
    if isinstance(given, Audit):
        return _Side(name, given.scores, given.status, given.record)
    if not isinstance(given, str | os.PathLike):
        raise ImageTypeError(f"compare takes audits, run folders or models, not {type(given).__name__}")
    folder = Path(given)
    document = read_document(folder)
    if document["command"] != "audit":
        raise DataError(
            f"{folder} is a run of assay {document['command']}; compare takes runs of assay audit, `assay run compare` others too"
        )
    if not (folder / "scores.parquet").exists():
        raise DataError(f"{folder} is not finished: go on with `assay run resume {folder}` first")
    try:
        scores, status = (
            pl.read_parquet(folder / "scores.parquet"),
            pl.read_csv(folder / "status.csv", schema_overrides={"label": pl.Int64, "predicted": pl.Int64, "right": pl.Boolean}),
        )
        answers = json.loads((folder / ENVIRONMENT).read_text("utf-8"))
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(f"cannot read the results in {folder}: {str(error).splitlines()[0]}; `assay run verify` tells more") from error
    if "right" not in status.columns:
        raise DataError(f"{folder} is of another version of assay, whose status does not say what is right; run it again")
    label = name if name not in ("the first", "the second") else folder.name
    return _Side(label, scores, status, answers, {"assay": document["assay"], **document["settings"]})


def _compared(sides: tuple[_Side, _Side], found: Changes | None, images: Any) -> Comparison:
    names = (sides[0].name, sides[1].name)
    if names[0] == names[1]:
        names = (f"{names[0]} (first)", f"{names[1]} (second)")
    table = paired(sides[0].scores, sides[1].scores, short(FLOOR))
    maps = pl.DataFrame() if found is None else found.table
    counts = predictions(sides[0].status, sides[1].status)
    asked = tuple(differences(dict(sides[0].settings), dict(sides[1].settings)))
    told = comparison_sentences(table, maps, counts, names)
    page = comparison_page(
        names, told, table, (maps, {} if found is None else found.maps, images), counts, asked, [one.record for one in sides]
    )
    return Comparison(names, table, maps, counts, asked, page)
