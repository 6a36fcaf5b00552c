"""How a start of a run takes its folder: what is refused, what is written down before work."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from assay.core.ranks import Ranks
from assay.core.whole_files import check_destination, is_draft, remove_drafts, write_all
from assay.errors import DataError
from assay.run.blocks import ArrayPart, Blocks
from assay.run.lock import Lock, held_parts, is_part_lock
from assay.run.paths import ENVIRONMENT, LOCK, LOGS, SETTINGS, read_environment
from assay.run.settings_file import differences, plain, read_settings, settings_text

__all__ = ["begin", "check_folder", "claimed", "document_of", "is_moved", "mark_moved"]

_MOVED = "moved"


def document_of(command: str, settings: Mapping[str, Any], blocks: Blocks) -> dict[str, Any]:
    """What `run.toml` holds."""
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
    return is_draft(name) or (name == LOCK and Lock(folder / name).is_ours()) or is_part_lock(folder / name)


@contextmanager
def claimed(folder: Path, lock: Lock, document: Mapping[str, Any], part: ArrayPart | None) -> Iterator[bool]:
    """Take the folder for this process; True when it begins here, False when a run like this is in it.

    A part takes its own lock, and the folder's for the length of the block alone, so that it begins beside other parts but beside
    nobody who works on all that is left.

    Raises:
        DataError: It cannot be had; nothing in it has been changed.
    """
    check_folder(folder)
    if (folder / SETTINGS).exists():
        _check_same(folder, document)
    folder.mkdir(parents=True, exist_ok=True)
    lock.take()
    if part is None:
        busy = held_parts(folder)
        if busy:
            names = ", ".join(path.name.removeprefix("lock-") for path in busy)
            raise DataError(f"{folder} is in use by {names}; wait for them, or end them")
        remove_drafts(folder)
        yield not (folder / SETTINGS).exists()
        return
    whole = Lock(folder / LOCK)
    whole.take(brief=True)
    try:
        if (folder / SETTINGS).exists():
            _check_same(folder, document)
        yield not (folder / SETTINGS).exists()
    finally:
        whole.release()


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


def mark_moved(folder: Path) -> None:
    """Note in a run's settings that its results are where they were wanted, so that only its own files are left to remove.

    Raises:
        OSError: They cannot be written.
    """
    told = read_settings(folder / SETTINGS) | {_MOVED: True}
    write_all(folder, {SETTINGS: settings_text(told).encode()})


def is_moved(folder: Path) -> bool:
    """Whether `mark_moved` was called for the run in a folder."""
    return read_settings(folder / SETTINGS).get(_MOVED) is True


def begin(
    folder: Path,
    document: Mapping[str, Any],
    given: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    ranks: Ranks,
    made: dict[str, None] | None,
    part: ArrayPart | None,
) -> tuple[int, Mapping[str, Any]]:
    """Write down this start, and in `made`, if it is the first, what it made; its number, and the answers of the first."""
    if made is not None:
        # The settings first: with them the folder is a run, and all else in it is the run's.
        made[SETTINGS] = None
        write_all(folder, {SETTINGS: settings_text(document).encode()})
        made[ENVIRONMENT] = None
    answers = dict(given() if callable(given) else given)
    start = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "directory": str(Path.cwd()),
        "command": sys.argv,
        "process": os.getpid(),
        "processes": ranks.world,
        **({} if part is None else {"part": part.name}),
    } | {name: answers.get(name) for name in ("code", "machine", "packages")}
    (folder / LOGS).mkdir(exist_ok=True)
    path = folder / ENVIRONMENT
    kept: dict[str, Any] = {**answers, "starts": []}
    if made is None and path.exists():
        kept = read_environment(folder)
    kept["starts"].append(start)
    write_all(folder, {ENVIRONMENT: (json.dumps(kept, indent=2) + "\n").encode()})
    return len(kept["starts"]) - 1, {name: value for name, value in kept.items() if name != "starts"}
