"""A run folder: settings, finished blocks and results of long work that may be killed and started again at any moment."""

from __future__ import annotations

import errno
import hashlib
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from assay.core.ranks import Ranks
from assay.core.whole_files import contained, is_full, replacing, sha256, write_all
from assay.errors import DataError
from assay.models.training.fitting import State
from assay.report.text import plural
from assay.run.arrays import chunk_files
from assay.run.begin import begin, claimed, document_of, is_moved, mark_moved
from assay.run.blocks import ArrayPart, BlockContent, Blocks
from assay.run.lock import Lock
from assay.run.log import FINISH, Entry, append, mend, read_log
from assay.run.paths import ENVIRONMENT, LOCK, LOGS, SETTINGS, finished_blocks
from assay.run.paths import part as part_of
from assay.run.state import read_state, state_bytes

__all__ = ["Run"]

_ROW_GROUP = 1 << 17


@dataclass(eq=False)
class Run:
    """One run of a command, kept in a folder; made by `Run.open`.

    Attributes:
        folder: Where everything is kept.
        blocks: How the images are cut; none for work that keeps states instead.
        ranks: The processes that share the work.
        part: The part that this process does; None for all that is left.
        start: Number of this start of the run, the first being 0.
        answers: The seven reproducibility answers of the first start.
        done: Blocks that were finished before this start.
        over: Whether the results were written before this start; then nothing is left to do.
        worthless: Set where all that was done is for nothing; if it was all done in a first start, that leaves nothing behind either.
    """

    folder: Path
    blocks: Blocks
    ranks: Ranks
    start: int
    answers: Mapping[str, Any]
    done: frozenset[int]
    over: bool
    part: ArrayPart | None
    _lock: Lock
    worthless: bool = field(default=False, init=False)
    _made: dict[str, None] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)

    @classmethod
    @contextmanager
    def open(
        cls,
        folder: str | Path,
        *,
        command: str,
        settings: Mapping[str, Any],
        answers: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        blocks: Blocks | None = None,
        ranks: Ranks | None = None,
        part: ArrayPart | None = None,
    ) -> Iterator[Run]:
        """Begin a run, or go on with the one in the folder.

        A first start that fails before anything is finished, or for nothing, removes what it made, and nothing else.

        Args:
            folder: New, empty, or of a run with the same command, version and settings.
            command: Name of the command line's command.
            settings: All that decides the results: plain values, paths and one level of mappings. Those named as an option of the
                command are given to it by `assay run resume`. What cannot change a result is no setting.
            answers: The seven reproducibility answers (`assay.run.record`), or what makes them.
            blocks: How the images are cut; None for work that keeps states instead.
            ranks: The processes that share the work.
            part: The part to do, beside other parts that go on at the same time; None for all that is left, alone.

        Raises:
            DataError: The folder cannot be written, is in use, or holds something else, a run of another version or of other
                settings; the message names the difference.
        """
        folder, ranks, blocks = Path(folder), ranks or Ranks(), blocks or Blocks(0, 1)
        document = document_of(command, settings, blocks)
        found: tuple[int, Mapping[str, Any], frozenset[int], bool] | None = None
        lock = Lock(folder / (LOCK if part is None else part.lock))
        began, made, opened = False, dict[str, None](), None
        new_folders, new_lock = _missing(folder), not (folder / LOCK).exists()
        try:
            with ranks.together():
                if ranks.first:
                    writing = _writing(folder, lambda: len(finished_blocks(folder) - {FINISH}), len(blocks))
                    with writing, claimed(folder, lock, document, part) as began:
                        start, kept = begin(folder, document, answers, ranks, made if began else None, part)
                    done = frozenset(finished_blocks(folder))
                    found = start, kept, done - {FINISH}, FINISH in done or is_moved(folder)
            told = ranks.told(found)
            assert told is not None
            start, kept, done, over = told
            with _writing(folder, lambda: len(done), len(blocks)):
                mend(_log(folder, ranks, part))
            opened = cls(folder, blocks, ranks, start, kept, done, over and len(done) == len(blocks), part, lock, made)
            yield opened
        except BaseException:
            # Other parts may have begun in what this one made.
            worthless = not _worth_keeping(folder) or (opened is not None and opened.worthless)
            if began and part is None and ranks.world == 1 and worthless:
                _undo(folder, made, lock if new_lock else None, new_folders)
            raise
        finally:
            lock.release()

    def pending(self) -> list[int]:
        """The blocks that no process had finished when this run started."""
        return [block for block in range(len(self.blocks)) if block not in self.done]

    def share(self, kind: Callable[[int], str] = lambda _: "") -> list[int]:
        """This process's share of the pending blocks, in order: as many as any other's of each kind, the blocks of which cost the same."""
        pending = self.pending()
        if self.part is None:
            return sorted(self.ranks.share(sorted(pending, key=kind)))
        # By their place among all blocks, so that parts that are begun again, or later than others, do not change what each has.
        alike = sorted(range(len(self.blocks)), key=kind)
        own = {alike[place] for place in self.part.share(range(len(alike)))}
        return [block for block in pending if block in own]

    def missing(self) -> list[int]:
        """The blocks that nobody has finished until now."""
        return sorted(set(range(len(self.blocks))) - finished_blocks(self.folder))

    def require_whole(self) -> None:
        """See that no block is missing, so that finished parts can be put together.

        Raises:
            DataError: Some are.
        """
        missing = self.missing()
        if missing:
            raise DataError(
                f"{self.folder} cannot be merged: {len(missing)} of {len(self.blocks)} blocks are missing, the first {missing[0]}; "
                f"start the parts that have them again, or do them here by `assay run resume {self.folder}`"
            )

    def part_done(self) -> str:
        """That this process's part is done, and what is still missing, in words."""
        assert self.part is not None
        missing = self.missing()
        rest = (
            f"{len(missing)} of {len(self.blocks)} blocks are missing"
            if missing
            else f"all are done; end the run by `assay run merge {self.folder}`"
        )
        return f"{self.part.name} is done: {rest}"

    def write(self, block: int, content: BlockContent) -> None:
        """Keep a finished block: all of it is on the disk, and only then in the log, when this returns.

        Raises:
            DataError: The disk is full or the folder cannot be written; the message says what to do.
        """
        files = {part_of(name, block): _parquet(table) for name, table in content.tables.items()}
        files |= chunk_files(content.arrays, self.blocks, block, content.rounded) if content.arrays else {}
        files |= content.files
        now = time.monotonic()
        self._made |= dict.fromkeys(files)
        with self.writing():
            # All blocks bring the same head of an array; readers need not see it replaced each time.
            write_all(self.folder, {name: one for name, one in files.items() if not self._is_head(name, one)})
            hashes = {name: hashlib.sha256(one).hexdigest() for name, one in files.items()}
            self._log(block, len(self.blocks.rows(block)), hashes, now - self._since, content.passes)
        self._since = time.monotonic()

    def tables(self, name: str) -> Iterator[pl.DataFrame]:
        """The parts of a table that are there, by block, one in memory at a time.

        Raises:
            DataError: A part is damaged.
        """
        for path in self._parts(name):
            try:
                with contained():
                    table = pl.read_parquet(path)
            except (pl.exceptions.PolarsError, OSError) as error:
                reason = next(iter(str(error).splitlines()), "")
                raise DataError(f"cannot read {path}: {reason}; remove it, and the same command makes it again") from error
            yield table

    def merge(self, name: str, target: str) -> None:
        """Write all parts of a table into one file of the folder, `.parquet` or `.csv`, in constant memory.

        Raises:
            DataError: The disk is full or the folder cannot be written.
        """
        path = self.folder / target
        rows = pl.scan_parquet(self._parts(name))
        with self.writing(), replacing(path) as draft:
            if path.suffix == ".csv":
                rows.sink_csv(draft)
            else:
                rows.sink_parquet(draft, row_group_size=_ROW_GROUP)

    def finish(self, results: Iterable[str]) -> None:
        """Say that the results, files of the folder, are complete, so that the next start has nothing to do.

        Raises:
            RuntimeError: A block is not finished, which no result may be made without.
        """
        missing = self.missing()
        if missing:
            raise RuntimeError(f"{self.folder}: results were made before {plural(len(missing), 'block')} ended, the first {missing[0]}")
        files = {name: sha256(self.folder / name) for name in results}
        with self.writing():
            self._log(FINISH, 0, files, time.monotonic() - self._since)

    def save_state(self, name: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Keep a state under a name, in place of the one before; one process only must do it.

        Args:
            name: Letters, digits, - and _.
            tensors: Tensors by name; they are copied.
            values: Plain values (JSON) by name.

        Raises:
            DataError: The disk is full or the folder cannot be written; the state before is still there.
        """
        with self.writing():
            write_all(self.folder, {f"state/{name}.safetensors": state_bytes(tensors, values)})

    def load_state(self, name: str) -> State | None:
        """The tensors, on the CPU, and values last kept under a name, or None.

        Raises:
            DataError: The file is damaged.
        """
        return read_state(self.folder / "state" / f"{name}.safetensors")

    def publish(self, wanted: Mapping[str, Path]) -> None:
        """Move files of the finished run to where they are wanted, and remove the run; called by the first process.

        Args:
            wanted: Places by the files' names; a file that an earlier start moved is left where it is.
        """
        for name, place in wanted.items():
            with self.writing():
                if (self.folder / name).exists():
                    (self.folder / name).replace(place)
        with self.writing():
            mark_moved(self.folder)
        self.discard()

    def drop_states(self) -> None:
        """Remove all states, which a finished run needs no more; called by the first process when all have kept theirs."""
        for path in (self.folder / "state").glob("*.safetensors"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # There is none, or it holds something else.
            (self.folder / "state").rmdir()

    def discard(self) -> None:
        """Remove the finished run's own files, and the folder where nothing else is in it; called by the first process."""
        self.drop_states()
        logs = [path.relative_to(self.folder).as_posix() for path in (self.folder / LOGS).glob("*.jsonl")]
        _undo(self.folder, (ENVIRONMENT, *logs), None, ())
        # The settings last: until they are gone, a start that follows a kill finds that the run is over.
        _undo(self.folder, (SETTINGS,), self._lock, [self.folder])

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the disk refuses within the block into one clear message.

        Raises:
            DataError: The disk is full or the folder cannot be written.
        """
        with _writing(self.folder, lambda: len(finished_blocks(self.folder) - {FINISH}), len(self.blocks)):
            yield

    def _parts(self, name: str) -> list[Path]:
        return sorted((self.folder / "parts" / name).glob("*.parquet"))

    def _is_head(self, name: str, content: bytes) -> bool:
        path = self.folder / name
        return path.name == "zarr.json" and path.exists() and path.read_bytes() == content

    def _log(self, block: int, rows: int, files: Mapping[str, str], seconds: float, passes: int = 0) -> None:
        path = _log(self.folder, self.ranks, self.part)
        self._made[path.relative_to(self.folder).as_posix()] = None
        rank = self.ranks.rank if self.part is None else self.part.number - 1
        append(path, Entry(block, rows, files, seconds, time.time(), self.start, rank, passes))


@contextmanager
def _writing(folder: Path, done: Callable[[], int], total: int) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        if is_full(error):
            progress = f": {done()} of {total} blocks are done" if total else ""
            raise DataError(f"the disk of {folder} is full; free some and start the same command again{progress}") from error
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        hint = "; it is read-only" if getattr(error, "errno", None) == errno.EROFS else ""
        raise DataError(f"cannot write in the folder {folder}: {reason}{hint}") from error


def _log(folder: Path, ranks: Ranks, part: ArrayPart | None) -> Path:
    return folder / LOGS / (f"rank-{ranks.rank}.jsonl" if part is None else part.log)


def _parquet(table: pl.DataFrame) -> bytes:
    held = io.BytesIO()
    table.write_parquet(held)
    return held.getvalue()


def _worth_keeping(folder: Path) -> bool:
    return (folder / "state").exists() or next(read_log(folder / LOGS), None) is not None


def _missing(folder: Path) -> list[Path]:
    """The folder and those above it that are not there, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _undo(folder: Path, made: Iterable[str], lock: Lock | None, new_folders: Iterable[Path]) -> None:
    """Remove the files that a start made, and the folders that it made and that are empty now."""
    within = {LOGS: None}
    for name in made:
        (folder / name).unlink(missing_ok=True)
        within |= dict.fromkeys(str(path) for path in Path(name).parents if path != Path())
    if lock is not None:
        lock.remove()
    inner = sorted((folder / name for name in within), key=lambda path: len(path.parts), reverse=True)
    for path in (*inner, *new_folders):
        with suppress(OSError):  # It holds something else, or is gone already.
            path.rmdir()
