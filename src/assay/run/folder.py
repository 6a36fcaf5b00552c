"""A run folder: settings, finished blocks and results of long work that may be killed and started again at any moment."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from assay.core.files import check_destination, is_draft, is_full, remove_drafts, replacing, sha256, write_all
from assay.core.ranks import Ranks
from assay.errors import DataError
from assay.report.text import plural
from assay.run.arrays import chunk_files
from assay.run.blocks import Blocks
from assay.run.lock import Lock
from assay.run.log import FINISH, Entry, append, mend, read_log
from assay.run.paths import ENVIRONMENT, LOCK, LOGS, SETTINGS, finished_blocks, part
from assay.run.settings import differences, plain, read_settings, settings_text
from assay.run.state import State, read_state, state_bytes

__all__ = ["Run", "check_folder"]

_ROW_GROUP = 1 << 17
_HEAD = "# A run of assay. To go on after an interruption: the same command again, or `assay run resume FOLDER`.\n"


@dataclass(eq=False)
class Run:
    """One run of a command, kept in a folder; made by `Run.open`.

    Attributes:
        folder: Where everything is kept.
        blocks: How the images are cut; none for work that keeps states instead.
        ranks: The processes that share the work.
        start: Number of this start of the run, the first being 0.
        answers: The seven reproducibility answers of the first start.
        done: Blocks that were finished before this start.
        over: Whether the results were written before this start; then nothing is left to do.
    """

    folder: Path
    blocks: Blocks
    ranks: Ranks
    start: int
    answers: Mapping[str, Any]
    done: frozenset[int]
    over: bool
    _lock: Lock
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
    ) -> Iterator[Run]:
        """Begin a run, or go on with the one in the folder.

        A first start that fails before anything is finished removes what it made, and nothing else.

        Args:
            folder: New, empty, or of a run with the same command, version and settings.
            command: Name of the command line's command.
            settings: All that decides the results: plain values, paths and one level of mappings. Those named as an option of the
                command are given to it by `assay run resume`. What cannot change a result is no setting.
            answers: The seven reproducibility answers (`assay.run.record`), or what makes them.
            blocks: How the images are cut; None for work that keeps states instead.
            ranks: The processes that share the work.

        Raises:
            DataError: The folder cannot be written, is in use, or holds something else, a run of another version or of other
                settings; the message names the difference.
        """
        folder, ranks, blocks = Path(folder), ranks or Ranks(), blocks or Blocks(0, 1)
        document = _document(command, settings, blocks)
        found: tuple[int, Mapping[str, Any], frozenset[int], bool] | None = None
        lock = Lock(folder / LOCK)
        began, made = False, dict[str, None]()
        new_folders, new_lock = _missing(folder), not (folder / LOCK).exists()
        try:
            with ranks.together():
                if ranks.first:
                    with _writing(folder, lambda: len(finished_blocks(folder) - {FINISH}), len(blocks)):
                        began = _claim(folder, lock, document)
                        remove_drafts(folder)
                        start, kept = _begin(folder, document, answers, ranks, made if began else None)
                    done = frozenset(finished_blocks(folder))
                    found = start, kept, done - {FINISH}, FINISH in done
            start, kept, done, over = ranks.told(found)  # type: ignore[misc]
            with _writing(folder, lambda: len(done), len(blocks)):
                mend(_log(folder, ranks))
            yield cls(folder, blocks, ranks, start, kept, done, over and len(done) == len(blocks), lock, made)
        except BaseException:
            if began and ranks.world == 1 and not _worth_keeping(folder):
                _undo(folder, made, lock if new_lock else None, new_folders)
            raise
        finally:
            lock.release()

    def pending(self) -> list[int]:
        """The blocks that no process had finished when this run started."""
        return [block for block in range(len(self.blocks)) if block not in self.done]

    def share(self) -> list[int]:
        """This process's part of the pending blocks."""
        return list(self.ranks.share(self.pending()))

    def write(
        self,
        block: int,
        tables: Mapping[str, pl.DataFrame],
        arrays: Mapping[str, np.ndarray] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Keep a finished block: all of it is on the disk, and only then in the log, when this returns.

        Args:
            block: Its number.
            tables: Rows of tables, by name; see `tables` and `merge`.
            arrays: (images of the block, ...) of per-image arrays, which become `maps.zarr/NAME`.
            files: Other files, by path within the folder, that no other block writes.

        Raises:
            DataError: The disk is full or the folder cannot be written; the message says what to do.
        """
        content = {part(name, block): _parquet(table) for name, table in tables.items()}
        content |= chunk_files(arrays, self.blocks, block) if arrays else {}
        content |= files or {}
        now = time.monotonic()
        self._made |= dict.fromkeys(content)
        with self.writing():
            # All blocks bring the same head of an array; readers need not see it replaced each time.
            write_all(self.folder, {name: one for name, one in content.items() if not self._is_head(name, one)})
            hashes = {name: hashlib.sha256(one).hexdigest() for name, one in content.items()}
            self._log(Entry(block, len(self.blocks.rows(block)), hashes, now - self._since, time.time(), self.start, self.ranks.rank))
        self._since = time.monotonic()

    def tables(self, name: str) -> Iterator[pl.DataFrame]:
        """The parts of a table that are there, by block, one in memory at a time."""
        for path in self._parts(name):
            yield pl.read_parquet(path)

    def merge(self, name: str, target: str, columns: Iterable[str] | None = None) -> None:
        """Write all parts of a table into one file of the folder, `.parquet` or `.csv`, in constant memory.

        Raises:
            DataError: The disk is full or the folder cannot be written.
        """
        path = self.folder / target
        rows = pl.scan_parquet(self._parts(name))
        if columns is not None:
            rows = rows.select(*columns)
        with self.writing(), replacing(path) as draft:
            if path.suffix == ".csv":
                rows.sink_csv(draft)
            else:
                rows.sink_parquet(draft, row_group_size=_ROW_GROUP)

    def put(self, name: str, text: str) -> None:
        """Write a text file of the folder, whole or not at all.

        Raises:
            DataError: The disk is full or the folder cannot be written.
        """
        with self.writing():
            write_all(self.folder, {name: text.encode()})

    def finish(self, results: Iterable[str]) -> None:
        """Say that the results, files of the folder, are complete, so that the next start has nothing to do.

        Raises:
            RuntimeError: A block is not finished, which no result may be made without.
        """
        missing = set(range(len(self.blocks))) - finished_blocks(self.folder)
        if missing:
            raise RuntimeError(f"{self.folder}: results were made before {plural(len(missing), 'block')} ended, the first {min(missing)}")
        files = {name: sha256(self.folder / name) for name in results}
        with self.writing():
            self._log(Entry(FINISH, 0, files, time.monotonic() - self._since, time.time(), self.start, self.ranks.rank))

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

    def discard(self) -> None:
        """Remove the finished run's own files, and the folder where nothing else is in it; called by the first process."""
        states = [path.relative_to(self.folder).as_posix() for path in (self.folder / "state").glob("*.safetensors")]
        logs = [path.relative_to(self.folder).as_posix() for path in (self.folder / LOGS).glob("rank-*.jsonl")]
        # The settings last: until they are gone, a start that follows a kill finds that the run is over.
        _undo(self.folder, (*states, ENVIRONMENT, *logs, SETTINGS), self._lock, [self.folder])

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

    def _log(self, line: Entry) -> None:
        self._made[_log(self.folder, self.ranks).relative_to(self.folder).as_posix()] = None
        append(_log(self.folder, self.ranks), line)


def _document(command: str, settings: Mapping[str, Any], blocks: Blocks) -> dict[str, Any]:
    cut: dict[str, Any] = {"images": blocks.images, "size": blocks.size} if blocks.images else {}
    if blocks.unit != Blocks.unit:
        cut["unit"] = blocks.unit
    return {"command": command, "assay": version("assay"), "blocks": cut, "settings": plain(settings)}


def check_folder(folder: Path) -> None:
    """See that a folder is new, empty or a run's, and can be written; nothing is made or changed.

    Raises:
        DataError: It is not, or cannot be.
    """
    strange = [name for name in check_destination(folder) if not _is_ours(folder, name)]
    if strange and not (folder / SETTINGS).exists():
        raise DataError(f"{folder} already holds {strange[0]} and is no run of assay; name an empty or new folder")


def _is_ours(folder: Path, name: str) -> bool:
    """Whether a start that was killed before it wrote its settings left this."""
    return is_draft(name) or (name == LOCK and Lock(folder / name).is_ours())


def _claim(folder: Path, lock: Lock, document: Mapping[str, Any]) -> bool:
    """Take the folder for this process; True when it begins here, False when a run like this is in it.

    Raises:
        DataError: It cannot be had; nothing in it has been changed.
    """
    check_folder(folder)
    if (folder / SETTINGS).exists():
        _check_same(folder, document)
    folder.mkdir(parents=True, exist_ok=True)
    lock.take()
    return not (folder / SETTINGS).exists()


def _check_same(folder: Path, document: Mapping[str, Any]) -> None:
    kept = read_settings(folder / SETTINGS)
    if kept.get("command") != document["command"]:
        raise DataError(f"{folder} holds a run of assay {kept.get('command')}, not of assay {document['command']}; name another folder")
    if kept.get("assay") != document["assay"]:
        raise DataError(
            f"{folder} was begun by assay {kept.get('assay')}, and this is {document['assay']}; "
            "go on with that version, or name another folder"
        )
    changed = differences(*({**one["settings"], "blocks": one["blocks"]} for one in (kept, document)))
    if changed:
        told = "; ".join(f"{name} is {new}, there {old}" for name, old, new in changed)
        raise DataError(f"{folder} holds a run with other settings: {told}; give the settings it was begun with, or name another folder")


def _begin(
    folder: Path,
    document: Mapping[str, Any],
    given: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    ranks: Ranks,
    made: dict[str, None] | None,
) -> tuple[int, Mapping[str, Any]]:
    """Write down this start, and in `made`, if it is the first, what it made; its number, and the answers of the first."""
    if made is not None:
        # The settings first: with them the folder is a run, and all else in it is the run's.
        made[SETTINGS] = None
        write_all(folder, {SETTINGS: (_HEAD + settings_text(document)).encode()})
        made[ENVIRONMENT] = None
    answers = dict(given() if callable(given) else given)
    start = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "directory": str(Path.cwd()),
        "command": sys.argv,
        "process": os.getpid(),
        "processes": ranks.world,
    } | {name: answers.get(name) for name in ("code", "machine", "packages")}
    (folder / LOGS).mkdir(exist_ok=True)
    path = folder / ENVIRONMENT
    kept: dict[str, Any] = {**answers, "starts": []}
    if made is None and path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
    kept["starts"].append(start)
    write_all(folder, {ENVIRONMENT: (json.dumps(kept, indent=2) + "\n").encode()})
    return len(kept["starts"]) - 1, {name: value for name, value in kept.items() if name != "starts"}


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


def _log(folder: Path, ranks: Ranks) -> Path:
    return folder / LOGS / f"rank-{ranks.rank}.jsonl"


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
