"""One study, one loop: what is done with each block of images and what all blocks say, in memory or in a run folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from torch import Tensor

from assay.core.files import replacing, write_all
from assay.core.progress import Progress, silent
from assay.core.ranks import Ranks
from assay.core.registry import short
from assay.errors import DataError, EmptyBatchError, NotFiniteError, SpecError
from assay.explain.base import Explainer
from assay.report.page import Sentence
from assay.run.blocks import Blocks, Part
from assay.run.folder import Run
from assay.run.sink import Memory, Sink
from assay.study.asked import Asked, Block
from assay.study.tally import Tally, tally

__all__ = ["Asked", "Block", "Done", "Grid", "Kept", "Report", "Study", "Tell", "check_distinct", "result", "run"]

Tell = Callable[[int], None]
"""Called with the images of a block done so far, where one half done counts by halves."""


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

    def parts(self, name: str) -> Iterator[pl.DataFrame]:
        """The rows of a table, block by block, in memory that does not grow with the images."""
        return self.sink.tables(name)

    def table(self, name: str) -> pl.DataFrame:
        """All rows of a table."""
        return pl.concat(self.parts(name))

    def require_sound(self, what: str) -> None:
        """Raise EmptyBatchError unless some image has no problem.

        Args:
            what: What was done with the images, such as "explained".
        """
        if not self.tally.sound:
            raise EmptyBatchError(f"no image could be {what}: {self.tally.few()}")


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
        found: Makes the result as Python's callers get it.
        merged: Tables whose blocks become one file of the folder each, by the file's name (.csv or .parquet).
        files: What makes other files of results, by name; only asked where they are not there yet.
        streams: The same for files too large for memory: what writes them to a path.
        grids: Tables for the terminal.
        sentences: The verdict.
        said: Further lines for the terminal.
        main: What the reader should open: a word for it and the file's name; without a name, the folder.
        over: Whether all was there before, so that nothing was left to do.
    """

    found: Callable[[], Any]
    merged: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    streams: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    grids: tuple[Grid, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    said: tuple[str, ...] = ()
    main: tuple[str, str] = ("results", "")
    over: bool = False


class Study(ABC):
    """Base of all studies of images: a frozen dataclass whose fields are the command's options, the spec and the record.

    The class's docstring has an entry for each field, which is the option's help.
    """

    command: ClassVar[str]
    """Name of the command line's command."""
    keeps_arrays: ClassVar[bool] = False
    """Whether blocks keep arrays, beside which the images' numbers are kept; such a study needs a folder."""
    least: ClassVar[int] = 8
    """Images that a block holds at least where there are more and the user did not say."""

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
    block: int | None = None,
    ranks: Ranks | None = None,
    part: Part | Literal["merge"] | None = None,
    progress: Progress = silent,
) -> Report | None:
    """Do a study, or what is left of it: in memory or in a folder, in one process or many.

    Args:
        study: What to do.
        asked: On which model and images; checked already.
        folder: New, empty, or of a run of the same study; None keeps everything in memory.
        settings: All that decides the results, for a folder.
        block: Images that are computed, kept and resumed together, at most; None for `Blocks.usual`.
        ranks: The processes that share the work.
        part: Of a folder, the part to do beside others, which then says what is missing; "merge" to put finished parts together.
        progress: Called as work goes on.

    Returns:
        The report in the first process; None in the others.

    Raises:
        EmptyBatchError: No image could be read.
        NotFiniteError: The model gives NaN or infinity for every image.
        DataError: The folder cannot be had or written, or parts are to be merged and blocks are missing.
    """
    blocks = Blocks.usual(asked.images, study.least) if block is None else Blocks.even(asked.images, block)
    if folder is None:
        held = Memory()
        _work(study, asked, held, blocks, range(len(blocks)), progress)
        return study.conclude(asked, _done(held, blocks, study.record(asked)))
    with Run.open(
        folder,
        command=study.command,
        settings=settings or {},
        answers=lambda: study.record(asked),
        blocks=blocks,
        ranks=ranks,
        part=part if isinstance(part, Part) else None,
    ) as kept:
        if part == "merge" and (missing := kept.missing()):
            raise DataError(
                f"{folder} cannot be merged: {len(missing)} of {len(blocks)} blocks are missing, the first {missing[0]}; start the "
                f"parts that have them again, or do them here by `assay run resume {folder}`"
            )
        with kept.ranks.together():
            _work(study, asked, kept, blocks, kept.share(), progress)
        if isinstance(part, Part):
            return _told(part, kept)
        with kept.ranks.together():
            if not kept.ranks.first:
                return None
            report = study.conclude(asked, _done(kept, blocks, kept.answers, kept.folder))
            if not kept.over:
                _write(kept, report)
            return replace(report, over=kept.over)


def result(study: Study, asked: Asked, progress: Progress = silent) -> Any:
    """What Python's callers get of a study in memory.

    Raises:
        AssayError: See `Study.check` and `run`.
    """
    study.check(asked)
    report = run(study, asked, progress=progress)
    assert report is not None
    return report.found()


def _work(study: Study, asked: Asked, sink: Sink, blocks: Blocks, share: Sequence[int], progress: Progress) -> None:
    total, done = sum(len(blocks.rows(one)) for one in share), 0
    before = asked.model.passes.copy()
    for number, block in zip(share, asked.read(map(blocks.rows, share)), strict=True):
        kept = Kept()
        if block.at:
            kept = study.block(asked, block, lambda images, done=done: progress(study.command, done + images, total))  # type: ignore[misc]
        arrays = {"index": np.array([int(asked.source.indices[row]) for row in block.rows]), **kept.arrays} if study.keeps_arrays else {}
        passes, before = asked.model.passes - before, asked.model.passes.copy()
        sink.write(number, {**kept.tables, "status": block.status(kept.maps)}, arrays, kept.files, passes.forward + passes.backward)
        done += len(block.rows)
        progress(study.command, done, total)


def _told(part: Part, kept: Run) -> Report:
    """That a part is done, and what is still missing."""
    missing, where = kept.missing(), kept.folder
    rest = (
        f"{len(missing)} of {len(kept.blocks)} blocks are missing" if missing else f"all are done; end the run by `assay run merge {where}`"
    )
    return Report(found=lambda: None, said=(f"{part.name} is done: {rest}",), main=("run folder", ""), over=kept.over)


def _done(sink: Sink, blocks: Blocks, answers: Mapping[str, Any], folder: Path | None = None) -> Done:
    counted = tally(sink.tables("status"))
    if not counted.read:
        raise EmptyBatchError(f"no image could be read: {counted.few()}")
    if counted.first is None:
        raise NotFiniteError(f"the model gives NaN or infinity for every image: {counted.few()}")
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
