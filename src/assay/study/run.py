"""A run folder: settings, finished blocks and results of long work that may be killed and started again at any moment."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from assay.core.files import is_full, remove_drafts, replacing, sha256, write_all
from assay.core.ranks import Ranks
from assay.errors import DataError
from assay.report.text import plural
from assay.study.blocks import Blocks
from assay.study.run_files import ENVIRONMENT, LOCK, LOGS, SETTINGS, finished_blocks, part
from assay.study.run_lock import Lock
from assay.study.run_log import FINISH, Line, append, mend, read_log
from assay.study.run_maps import chunk_files
from assay.study.run_settings import differences, plain, read_settings, settings_text
from assay.study.run_state import State, read_state, state_bytes

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
        """Begin a run, or go on with the one in the folder; a first start that fails before anything is finished leaves nothing.

        Args:
            folder: New, empty, or of a run with the same command, version and settings.
            command: Name of the command line's command.
            settings: All that decides the results: plain values, paths and one level of mappings. Those named as an option of the
                command are given to it by `assay run resume`. What cannot change a result is no setting.
            answers: The seven reproducibility answers (`assay.study.record`), or what makes them.
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
        began = False
        try:
            with ranks.together():
                if ranks.first:
                    with _writing(folder, lambda: len(finished_blocks(folder) - {FINISH}), len(blocks)):
                        began = _claim(folder, lock, document)
                        remove_drafts(folder)
                        start, kept = _begin(folder, document, dict(answers() if callable(answers) else answers), ranks, began)
                    done = frozenset(finished_blocks(folder))
                    found = start, kept, done - {FINISH}, FINISH in done
            start, kept, done, over = ranks.told(found)  # type: ignore[misc]
            with _writing(folder, lambda: len(done), len(blocks)):
                mend(_log(folder, ranks))
            yield cls(folder, blocks, ranks, start, kept, done, over and len(done) == len(blocks))
        except BaseException:
            if began and ranks.world == 1 and not _worth_keeping(folder):
                _clear(folder)
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
        with self.writing():
            # All blocks bring the same head of an array; readers need not see it replaced each time.
            write_all(self.folder, {name: one for name, one in content.items() if not self._is_head(name, one)})
            hashes = {name: hashlib.sha256(one).hexdigest() for name, one in content.items()}
            self._log(Line(block, len(self.blocks.rows(block)), hashes, now - self._since, time.time(), self.start, self.ranks.rank))
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
            self._log(Line(FINISH, 0, files, time.monotonic() - self._since, time.time(), self.start, self.ranks.rank))

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

    def _log(self, line: Line) -> None:
        append(_log(self.folder, self.ranks), line)


def _document(command: str, settings: Mapping[str, Any], blocks: Blocks) -> dict[str, Any]:
    cut: dict[str, Any] = {"images": blocks.images, "size": blocks.size} if blocks.images else {}
    if blocks.unit != Blocks.unit:
        cut["unit"] = blocks.unit
    return {"command": command, "assay": version("assay"), "blocks": cut, "settings": plain(settings)}


def check_folder(folder: Path) -> None:
    """Make the folder where it is not there, and see that it is empty or a run's.

    Raises:
        DataError: It cannot be made, or holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise DataError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    strange = sorted(name for name in names - {LOCK, LOGS, ENVIRONMENT} if not name.startswith("."))
    if SETTINGS not in names and strange:
        raise DataError(f"{folder} already holds {strange[0]} and is no run of assay; name an empty or new folder")


def _claim(folder: Path, lock: Lock, document: Mapping[str, Any]) -> bool:
    """Take the folder for this process; True when it begins here, False when a run like this is in it.

    Raises:
        DataError: It cannot be had; nothing in it has been changed.
    """
    check_folder(folder)
    if (folder / SETTINGS).exists():
        _check_same(folder, document)
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


def _begin(folder: Path, document: Mapping[str, Any], answers: dict[str, Any], ranks: Ranks, new: bool) -> tuple[int, Mapping[str, Any]]:
    """Write down this start; its number, and the answers of the first."""
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
    if not new and path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
    kept["starts"].append(start)
    write_all(folder, {ENVIRONMENT: (json.dumps(kept, indent=2) + "\n").encode()})
    if new:
        # Last: from here on the folder is a run.
        write_all(folder, {SETTINGS: (_HEAD + settings_text(document)).encode()})
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


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
