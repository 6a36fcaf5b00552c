"""One study, one loop: what is done with each block of images and what all blocks say, in memory or in a run folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, final

import numpy as np
import polars as pl
from torch import Tensor

from assay.core.progress import Progress, counting, silent
from assay.core.ranks import Ranks
from assay.core.registry import field_values, short
from assay.core.whole_files import replacing, write_all
from assay.errors import EmptyBatchError, NotFiniteError, SpecError
from assay.explain.base import Explainer
from assay.report.page import Sentence
from assay.run.blocks import ArrayPart, BlockContent, Blocks
from assay.run.folder import Run
from assay.run.memory import Memory
from assay.study.asked import Asked, Block
from assay.study.tally import Tally, tally

__all__ = [
    "Asked",
    "Block",
    "Done",
    "Experiment",
    "Kept",
    "Report",
    "StepwiseStudy",
    "Study",
    "Tell",
    "TerminalTable",
    "Unit",
    "check_distinct",
    "keep_each",
    "result",
    "run",
]

Tell = Callable[[int], None]
"""Called with the images of a block done so far, where one half done counts by halves."""
Unit = tuple[int, str, int, Callable[[Tell], BlockContent]]
"""What is done, kept and resumed at once: the number of its block, its stage, its images, and what does it."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What one block gives.

    Attributes:
        tables: Rows of tables, by name.
        maps: (N, C, H, W) by name; what is not finite in them is said in the status.
        arrays: (rows of the block, ...) of per-image arrays, which become `maps.zarr/NAME`.
        files: Other files, by path, that no other block writes.
        rounded: Names of arrays that are rounded, and compress for it.
    """

    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    rounded: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Done:
    """All blocks of a study.

    Attributes:
        tally: What the status of all images comes to.
        answers: The seven reproducibility answers.
        store: Gives the tables back.
        blocks: How the images were cut.
        folder: Where all is kept; None in memory.
    """

    tally: Tally
    answers: Mapping[str, Any]
    store: Run | Memory
    blocks: Blocks
    folder: Path | None = None

    def parts(self, name: str) -> Iterator[pl.DataFrame]:
        """The rows of a table, block by block, in memory that does not grow with the images."""
        return self.store.tables(name)

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
class TerminalTable:
    """A table of texts for the terminal, whose first `keys` columns say what a row is."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    keys: int = 1


@dataclass(frozen=True, eq=False)
class Report:
    """What a study comes to.

    Attributes:
        found: Makes the result as Python's callers get it.
        merged: Tables whose blocks become one file of the folder each, by the file's name (.csv or .parquet).
        files: What makes other files of results, by name; only asked where they are not there yet.
        streams: The same for files too large for memory: what writes them to a path.
        groups: What makes several files that belong together, by name, all or none of which appear.
        moved: Where files of the folder are wanted at last; then they are moved there, and the folder goes.
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
    groups: tuple[Callable[[], Mapping[str, bytes]], ...] = ()
    moved: Mapping[str, Path] = field(default_factory=dict)
    grids: tuple[TerminalTable, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    said: tuple[str, ...] = ()
    main: tuple[str, str] = ("results", "")
    over: bool = False


class Experiment(ABC):
    """Base of all that is done in a run folder: a frozen dataclass whose fields are the command's options, the spec and the record.

    The class's docstring has an entry for each field, which is the option's help.
    """

    command: ClassVar[str]
    """Name of the command line's command."""

    @abstractmethod
    def check(self, asked: Any) -> None:
        """See that it can be done, before any work.

        Raises:
            AssayError: It cannot; the message names the option or argument and what to do.
        """

    def settled(self, asked: Any) -> Self:
        """The same with every default filled in, so that later defaults do not change what it does; this is what is done and recorded."""
        return self

    @property
    def fields(self) -> dict[str, Any]:
        """The fields as plain values, which the command takes again; what was left to its default of None is no setting."""
        return {name: _plain(value) for name, value in field_values(self).items()}

    @abstractmethod
    def record(self, asked: Any) -> dict[str, Any]:
        """The seven reproducibility answers."""

    @abstractmethod
    def conclude(self, asked: Any, done: Any) -> Report:
        """What all that was done comes to."""

    @abstractmethod
    def cut(self, asked: Any, block: int | None) -> Blocks:
        """How the work is cut, into blocks of at most so many images; None for as many as is usual."""

    @abstractmethod
    def work(self, asked: Any, kept: Run | Memory, progress: Progress) -> Callable[[], Report]:
        """Do what is left, in every process; gives what makes the report, in the first."""


class Study(Experiment):
    """Base of all studies of images, done and kept block by block."""

    keeps_arrays: ClassVar[bool] = False
    """Whether blocks keep arrays, beside which the images' numbers are kept; such a study needs a folder."""
    least: ClassVar[int] = 8
    """Images that a block holds at least where there are more and the user did not say."""

    @abstractmethod
    def check(self, asked: Asked) -> None:
        """See `Experiment.check`."""

    def tried(self, asked: Asked) -> Sequence[Explainer] | None:
        """Explainers by which it is found out whether 16 bits leave the answers as they are; None where they never do."""
        return None

    @abstractmethod
    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """What is kept of one block of images; a function of its images' numbers and the seed alone."""

    @abstractmethod
    def conclude(self, asked: Asked, done: Done) -> Report:
        """What all blocks say, from what they kept."""

    @final
    def cut(self, asked: Asked, block: int | None) -> Blocks:
        """See `Experiment.cut`."""
        return Blocks.usual(asked.images, self.least) if block is None else Blocks.even(asked.images, block)

    @final
    def work(self, asked: Asked, kept: Run | Memory, progress: Progress) -> Callable[[], Report]:
        """See `Experiment.work`.

        Raises:
            EmptyBatchError: No image could be read.
            NotFiniteError: The model gives NaN or infinity for every image.
        """
        with kept.ranks.together():
            rows, share = kept.blocks.rows, kept.share()
            blocks = zip(share, asked.read(map(rows, share)), strict=True)
            units = ((number, self.command, len(block.rows), partial(self._content, asked, block)) for number, block in blocks)
            keep_each(kept, units, sum(len(rows(one)) for one in share), progress)
        return lambda: self.conclude(asked, _done(kept))

    def _content(self, asked: Asked, block: Block, tell: Tell) -> BlockContent:
        before = asked.model.passes.copy()
        found = self.block(asked, block, tell) if block.at else Kept()
        arrays = {"index": np.array([int(asked.source.indices[row]) for row in block.rows]), **found.arrays} if self.keeps_arrays else {}
        tables = {**found.tables, "status": block.status(found.maps)}
        passes = asked.model.passes - before
        return BlockContent(tables, arrays, found.files, passes.forward + passes.backward, found.rounded)


class StepwiseStudy(Experiment):
    """Base of what is no study of one source of images: done step by step, from what was kept last."""

    @abstractmethod
    def fit(self, asked: Any, run: Run, progress: Progress) -> Any:
        """Do all steps that are left; called in every process of a run that no earlier start ended."""

    @abstractmethod
    def again(self, asked: Any, folder: Path) -> Report:
        """What a run came to that an earlier start ended, from its files: the states are gone."""

    def cut(self, asked: Any, block: int | None) -> Blocks:
        """None, where states are kept in place of blocks."""
        return Blocks(0, 1)

    @final
    def work(self, asked: Any, kept: Run | Memory, progress: Progress) -> Callable[[], Report]:
        """See `Experiment.work`."""
        assert isinstance(kept, Run)
        if kept.over:
            return lambda: self.again(asked, kept.folder)
        found = self.fit(asked, kept, progress)
        kept.ranks.wait()  # The first process removes the states, which all must have kept.
        return lambda: self.conclude(asked, found)


def keep_each(kept: Run | Memory, units: Iterable[Unit], total: int, progress: Progress) -> None:
    """Do this process's units, one after the other, each kept when it is done; `total` are the images of all."""
    done = 0
    for number, stage, images, content in units:
        kept.write(number, content(counting(progress, stage, done, total)))
        done += images
        progress(stage, done, total)


def check_distinct(explainers: Sequence[Explainer]) -> None:
    """Raise SpecError unless there is an explainer and none is given twice."""
    names = [short(one) for one in explainers]
    if not names or len(set(names)) < len(names):
        raise SpecError(f"explainers are given twice in {', '.join(names)}; give each once" if names else "give at least one explainer")


def run(
    study: Experiment,
    asked: Any,
    folder: Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    block: int | None = None,
    ranks: Ranks | None = None,
    part: ArrayPart | Literal["merge"] | None = None,
    progress: Progress = silent,
) -> Report | None:
    """Do a study or training, or what is left of it: in memory or in a folder, in one process or many.

    Args:
        study: What to do.
        asked: On what; checked already.
        folder: New, empty, or of a run of the same study; None keeps everything in memory.
        settings: What decides the results beside the study's fields, for a folder.
        block: Images that are computed, kept and resumed together, at most; None for `Blocks.usual`.
        ranks: The processes that share the work.
        part: Of a folder, the part to do beside others, which then says what is missing; "merge" to put finished parts together.
        progress: Called as work goes on.

    Returns:
        The report in the first process; None in the others.

    Raises:
        DataError: The folder cannot be had or written, or parts are to be merged and blocks are missing.
        AssayError: See `Experiment.work`.
    """
    study = study.settled(asked)
    if folder is None:
        return study.work(asked, Memory(study.cut(asked, block), lambda: study.record(asked)), progress)()
    with Run.open(
        folder,
        command=study.command,
        settings={**(settings or {}), **study.fields},
        answers=lambda: study.record(asked),
        blocks=study.cut(asked, block),
        ranks=ranks,
        part=part if isinstance(part, ArrayPart) else None,
    ) as kept:
        if part == "merge":
            kept.require_whole()
        concluded = study.work(asked, kept, progress)
        if isinstance(part, ArrayPart):
            return Report(found=lambda: None, said=(kept.part_done(),), main=("run folder", ""), over=kept.over)
        with kept.ranks.together():
            if not kept.ranks.first:
                return None
            try:
                report = concluded()
            except (EmptyBatchError, NotFiniteError):
                kept.worthless = True
                raise
            if not kept.over:
                _write(kept, report)
            if report.moved:
                kept.publish(report.moved)
            else:
                kept.drop_states()
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


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return repr(value) if is_dataclass(value) else value


def _done(kept: Run | Memory) -> Done:
    counted = tally(kept.tables("status"))
    if not counted.read:
        raise EmptyBatchError(f"no image could be read: {counted.few()}")
    if counted.first is None:
        raise NotFiniteError(f"the model gives NaN or infinity for every image: {counted.few()}")
    return Done(counted, kept.answers, kept, kept.blocks, kept.folder)


def _write(kept: Run, report: Report) -> None:
    for name, table in report.merged.items():
        kept.merge(table, name)
    for name, content in report.files.items():
        with kept.writing():
            write_all(kept.folder, {name: content()})
    for name, write in report.streams.items():
        with kept.writing(), replacing(kept.folder / name) as draft:
            write(draft)
    whole = [one() for one in report.groups]
    for group in whole:
        with kept.writing():
            write_all(kept.folder, group)
    kept.finish([*report.merged, *report.files, *report.streams, *(name for group in whole for name in group)])
