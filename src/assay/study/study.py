"""One study, one loop: what is done with each block of images and what all blocks say, in memory or in a run folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from torch import Tensor

from assay.core.files import replacing, write_all
from assay.core.progress import Progress, silent
from assay.core.ranks import Ranks
from assay.core.registry import short
from assay.data.base import Batch
from assay.errors import EmptyBatchError, NotFiniteError, SpecError
from assay.explain.base import Explainer
from assay.measure.base import Case
from assay.models.classifier import Classifier
from assay.models.targets import Decision
from assay.report.page import Sentence
from assay.run.blocks import BLOCK, Blocks
from assay.run.folder import Run
from assay.run.sink import Memory, Sink
from assay.study.audit.findings import Tally, few, tally
from assay.study.audit.work import OK, Line, lines_of, lines_of_unread, status_table
from assay.study.source import Source, placed
from assay.study.targeting import PREDICTED, Targeting

__all__ = ["Asked", "Block", "Done", "Grid", "Kept", "Report", "Study", "Tell", "check_distinct", "run"]

Tell = Callable[[int], None]
"""Called with the images of a block done so far, where one half done counts by halves."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What a study is about.

    Attributes:
        model: The model.
        source: The images.
        seed: Decides all randomness, together with the images' numbers.
        name: What the reader calls the model.
        data: The data set's name, hash and split, for the record.
        classes: Names of the labels' classes; none when labels are the model's own class numbers.
        targets: What is explained of each image.
        masks: Which masks the images bring: "truth", "distractor".
    """

    model: Classifier
    source: Source
    seed: int = 0
    name: str = "the model"
    data: Mapping[str, Any] = field(default_factory=dict)
    classes: Sequence[str] = ()
    targets: Targeting = PREDICTED
    masks: Set[str] = frozenset()

    @property
    def images(self) -> int:
        """Images in all, files that cannot be read included."""
        return len(self.source.indices)

    @property
    def explained(self) -> str:
        """Which class of each image is explained, in a word."""
        return self.targets.name


@dataclass(frozen=True, eq=False)
class Block:
    """One block of images, read, on the model's device, and predicted once.

    Attributes:
        rows: The positions that were asked for.
        at: Positions of the images that could be read.
        batch: These images, as they were read.
        case: The same with targets and logits, on the model's device.
    """

    rows: range
    at: Sequence[int]
    batch: Batch
    case: Case

    @cached_property
    def decision(self) -> Decision:
        """What the model decides about them."""
        return self.case.model.decide(self.case.logits, self.case.targets)

    def fine(self, maps: Mapping[str, Tensor]) -> list[int]:
        """Places within the batch whose output, and whose maps (N, C, H, W) by name, are finite."""
        return [place for place, line in enumerate(self.lines(maps)) if line[1] == OK]

    def lines(self, maps: Mapping[str, Tensor]) -> list[Line]:
        """What is said of each image in the status."""
        return lines_of(self.batch, self.decision, {name: one.cpu() for name, one in maps.items()})

    def spread(self, values: np.ndarray, places: Sequence[int]) -> np.ndarray:
        """(rows, ...) values of some places of the batch, by position within the block; NaN, or -1, for the others.

        Args:
            values: (places, ...).
            places: Their places within the batch.
        """
        full = np.full((len(self.rows), *values.shape[1:]), np.nan if values.dtype.kind == "f" else -1, values.dtype)
        full[[self.at[place] - self.rows.start for place in places]] = values
        return full


@dataclass(frozen=True, eq=False)
class Kept:
    """What one block gives.

    Attributes:
        tables: Rows of tables, by name.
        maps: (N, C, H, W) by name; what is not finite in them is said in the status.
        arrays: (rows of the block, ...) of per-image arrays, which become `maps.zarr/NAME`.
        files: Other files, by path, that no other block writes.
    """

    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Done:
    """All blocks of a study.

    Attributes:
        tally: What the status of all images comes to.
        answers: The seven reproducibility answers.
        sink: Gives the tables back.
        blocks: How the images were cut.
        folder: Where all is kept; None in memory.
    """

    tally: Tally
    answers: Mapping[str, Any]
    sink: Sink
    blocks: Blocks
    folder: Path | None = None

    def table(self, name: str) -> pl.DataFrame:
        """All rows of a table, by block."""
        return pl.concat(list(self.sink.tables(name)))

    def require_sound(self, what: str) -> None:
        """Raise EmptyBatchError unless some image has no problem.

        Args:
            what: What was done with the images, such as "explained".
        """
        if not self.tally.sound:
            raise EmptyBatchError(f"no image could be {what}: {few(self.tally)}")


@dataclass(frozen=True)
class Grid:
    """A table of texts for the terminal."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class Report:
    """What a study comes to.

    Attributes:
        found: The result as Python's callers get it.
        merged: Tables whose blocks become one file of the folder each, by the file's name (.csv or .parquet).
        files: What makes other files of results, by name; only asked where they are not there yet.
        streams: The same for files too large for memory: what writes them to a path.
        grids: Tables for the terminal.
        sentences: The verdict.
        said: Further lines for the terminal.
        main: What the reader should open: a word for it and the file's name; without a name, the folder.
    """

    found: Any
    merged: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    streams: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    grids: tuple[Grid, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    said: tuple[str, ...] = ()
    main: tuple[str, str] = ("results", "")


class Study(ABC):
    """Base of all studies of images: a frozen dataclass whose fields are the command's options, the spec and the record.

    The class's docstring has an entry for each field, which is the option's help.
    """

    command: ClassVar[str]
    """Name of the command line's command."""
    keeps_arrays: ClassVar[bool] = False
    """Whether blocks keep arrays, beside which the images' numbers are kept; such a study needs a folder."""

    @abstractmethod
    def check(self, asked: Asked) -> None:
        """See that the study can be done, before any work.

        Raises:
            AssayError: It cannot; the message names the option or argument and what to do.
        """

    @abstractmethod
    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """What is kept of one block of images; a function of its images' numbers and the seed alone."""

    @abstractmethod
    def conclude(self, asked: Asked, done: Done) -> Report:
        """What all blocks say, from what they kept."""

    @abstractmethod
    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""


def check_distinct(explainers: Sequence[Explainer]) -> None:
    """Raise SpecError unless there is an explainer and none is given twice."""
    names = [short(one) for one in explainers]
    if not names or len(set(names)) < len(names):
        raise SpecError(f"explainers are given twice in {', '.join(names)}; give each once" if names else "give at least one explainer")


def run(
    study: Study,
    asked: Asked,
    folder: Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    block: int = BLOCK,
    ranks: Ranks | None = None,
    progress: Progress = silent,
) -> tuple[Report, bool] | None:
    """Do a study, or what is left of it: in memory or in a folder, in one process or many.

    Args:
        study: What to do.
        asked: On which model and images; checked already.
        folder: New, empty, or of a run of the same study; None keeps everything in memory.
        settings: All that decides the results, for a folder.
        block: Images that are computed, kept and resumed together, at most.
        ranks: The processes that share the work.
        progress: Called as work goes on.

    Returns:
        The report, and whether it was there before, in the first process; None in the others.

    Raises:
        EmptyBatchError: No image could be read.
        NotFiniteError: The model gives NaN or infinity for every image.
        DataError: The folder cannot be had or written.
    """
    blocks = Blocks.even(asked.images, block)
    if folder is None:
        held = Memory()
        _work(study, asked, held, blocks, range(len(blocks)), progress)
        return study.conclude(asked, _done(held, blocks, study.record(asked))), False
    with Run.open(
        folder,
        command=study.command,
        settings=settings or {},
        answers=lambda: study.record(asked),
        blocks=blocks,
        ranks=ranks,
    ) as kept:
        with kept.ranks.together():
            _work(study, asked, kept, blocks, kept.share(), progress)
        with kept.ranks.together():
            if not kept.ranks.first:
                return None
            report = study.conclude(asked, _done(kept, blocks, kept.answers, kept.folder))
            if not kept.over:
                _write(kept, report)
            return report, kept.over


def _work(study: Study, asked: Asked, sink: Sink, blocks: Blocks, share: Sequence[int], progress: Progress) -> None:
    total, done = sum(len(blocks.rows(one)) for one in share), 0
    for number, batch in zip(share, asked.source.read(map(blocks.rows, share)), strict=True):
        rows = blocks.rows(number)
        kept, lines = _one(study, asked, rows, batch, lambda images, done=done: progress(study.command, done + images, total))  # type: ignore[misc]
        arrays = {"index": np.array([int(asked.source.indices[row]) for row in rows]), **kept.arrays} if study.keeps_arrays else {}
        sink.write(number, {**kept.tables, "status": status_table(asked.source, rows, lines)}, arrays, kept.files)
        done += len(rows)
        progress(study.command, done, total)


def _one(study: Study, asked: Asked, rows: range, batch: Batch, tell: Tell) -> tuple[Kept, dict[int, Line]]:
    """What a study keeps of one block, and what is said of each of its images."""
    at, unread = placed(asked.source, rows, batch)
    lines = lines_of_unread(unread)
    if not at:
        return Kept(), lines
    home = asked.model.device
    images, index = batch.images.to(home), batch.index.to(home)
    logits = asked.model.unchecked_logits(images)
    targets = asked.targets.of(asked.model, logits, batch, at)
    masks = (None if mask is None else mask.to(home) for mask in (batch.truth, batch.distractor))
    block = Block(rows, at, batch, Case(asked.model, images, targets, index, asked.seed, *masks).knowing(logits))
    kept = study.block(asked, block, tell)
    lines |= zip(at, block.lines(kept.maps), strict=True)
    return kept, lines


def _done(sink: Sink, blocks: Blocks, answers: Mapping[str, Any], folder: Path | None = None) -> Done:
    counted = tally(sink)
    if not counted.read:
        raise EmptyBatchError(f"no image could be read: {few(counted)}")
    if counted.first is None:
        raise NotFiniteError(f"the model gives NaN or infinity for every image: {few(counted)}")
    return Done(counted, answers, sink, blocks, folder)


def _write(kept: Run, report: Report) -> None:
    for name, table in report.merged.items():
        kept.merge(table, name)
    for name, content in report.files.items():
        with kept.writing():
            write_all(kept.folder, {name: content()})
    for name, write in report.streams.items():
        with kept.writing(), replacing(kept.folder / name) as draft:
            write(draft)
    kept.finish([*report.merged, *report.files, *report.streams])
