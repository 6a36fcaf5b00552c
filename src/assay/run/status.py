"""How far a run is, and whether what it has written is what it logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from assay.core.whole_files import contained, sha256
from assay.errors import DataError
from assay.run.begin import is_moved
from assay.run.blocks import Blocks
from assay.run.lock import Lock, held_parts
from assay.run.log import FINISH, Entry, Pace
from assay.run.paths import ENVIRONMENT, LOCK, SETTINGS, entries, finished_blocks, is_file, part, read_starts
from assay.run.settings_file import read_settings

__all__ = ["Status", "Wrong", "first_start", "network_of", "read_document", "status", "verify", "written"]

_APART = ("model", "part", "quantity", "kernel", "explainer", "eps")
"""What tells rows of one image apart in a study of several models."""
_SURE = 0.3
_MOST = 1000
"""Missing blocks that are named."""


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        command: What it is a run of.
        version: The version of Assay that does it.
        blocks: How its images are cut.
        done: Finished blocks.
        images: Images in them.
        running: Whether a process holds the folder now.
        over: Whether its results are written.
        starts: How often it was started.
        pace: How fast the processes of the last start, or the parts that are at work, are; None where they have finished no block.
        parts: Parts that are at work now.
        states: Names of the states that it keeps.
    """

    command: str
    version: str
    blocks: Blocks
    done: int
    images: int
    running: bool
    over: bool
    starts: int
    pace: Pace | None
    parts: tuple[str, ...]
    states: tuple[str, ...]

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes, by the passes that finished blocks took; None where that is not known within 30%."""
        images = self.blocks.images - self.images
        if not images:
            return 0.0
        return self.pace.left(images) if self.pace is not None and self.pace.doubt <= _SURE else None


def read_document(folder: Path) -> dict[str, Any]:
    """A run's command, version, blocks and settings.

    Raises:
        DataError: The folder is no run's, or its settings are damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise DataError(f"{folder} is no run folder: there is no {path}")
    try:
        found = read_settings(path)
        sound = all(isinstance(found[name], kind) for name, kind in (("command", str), ("assay", str), ("settings", dict)))
        _blocks(found)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if not sound:
        raise DataError(f"{path} is damaged: command and assay must be texts, settings a table")
    return found


def network_of(folder: Path) -> dict[str, Any] | None:
    """What the settings of the folder's run say of its network; None where there is no run yet."""
    if not (folder / SETTINGS).exists():
        return None
    found: dict[str, Any] | None = read_settings(folder / SETTINGS).get("settings", {}).get("network")
    return found


def first_start(folder: Path) -> dict[str, Any]:
    """What is known of a run's first start: directory, command line, machine.

    Raises:
        DataError: It cannot be read.
    """
    starts = read_starts(folder)
    if not starts or not isinstance(starts[0].get("directory"), str):
        raise DataError(f"cannot read {folder / ENVIRONMENT}: it does not tell where the run was begun")
    return starts[0]


def status(folder: Path) -> Status:
    """How far the run in a folder is; it may be going on.

    Raises:
        DataError: The folder is no run's.
    """
    document = read_document(folder)
    blocks = _blocks(document)
    finished = finished_blocks(folder)
    done = {block for block in finished - {FINISH} if 0 <= block < len(blocks)}
    starts = read_starts(folder) if (folder / ENVIRONMENT).exists() else []
    parts = held_parts(folder)
    return Status(
        command=document["command"],
        version=document["assay"],
        blocks=blocks,
        done=len(done),
        images=sum(len(blocks.rows(block)) for block in done),
        running=bool(parts) or ((folder / LOCK).is_file() and Lock(folder / LOCK).is_held()),
        over=(FINISH in finished or is_moved(folder)) and len(done) == len(blocks),
        starts=len(starts),
        pace=Pace.of(_latest(folder, starts, {path.name for path in parts})),
        parts=tuple(path.name.removeprefix("lock-") for path in parts),
        states=tuple(sorted(path.stem for path in (folder / "state").glob("*.safetensors") if not path.name.startswith("."))),
    )


def verify(folder: Path) -> Iterator[str]:
    """What is wrong with a run's files and rows, in words; nothing where all is well.

    Every file is read again and held against the hash in the log, a part that no line of the log names is wrong, and the rows of all
    tables are held against the images and the results against the parts that they are made of.

    Raises:
        DataError: The folder is no run's.
    """
    blocks = _blocks(read_document(folder))
    damaged: list[str] = []
    known: dict[int, dict[str, str]] = {}
    for line in entries(folder, damaged):
        first = known.setdefault(line.block, dict(line.files))
        if first != line.files and line.block != FINISH:
            yield f"block {line.block} was done twice with different results"
        known[line.block] = dict(line.files)
    yield from (f"{one} of the log cannot be read" for one in damaged)
    wrong: set[str] = set()
    for block, files in sorted(known.items()):
        for name, expected in files.items():
            what = _changed(folder, name, expected)
            if what:
                wrong.add(name)
                yield what
        if block != FINISH and not 0 <= block < len(blocks):
            yield f"there is a block {block}, but the run has {len(blocks)}"
    named = {name for files in known.values() for name in files}
    parts = sorted(str(path.relative_to(folder).as_posix()) for path in (folder / "parts").glob("*/*.parquet"))
    for name in parts if FINISH in known else ():  # Before, a killed process may have left a part whose line it did not come to.
        if name not in named and not Path(name).name.startswith("."):
            yield f"{name} is there, but no line of the log names it; remove it"
    if FINISH in known:
        missing = (block for block in range(len(blocks)) if block not in known)
        yield from (f"the run is finished, but block {block} is missing" for block in islice(missing, _MOST))
        if not wrong:
            yield from _other_results(folder, known[FINISH])
    done = sorted(block for block in known if block != FINISH and 0 <= block < len(blocks))
    for table in sorted({Path(name).parts[1] for block in done for name in known[block] if _is_part(name)}):
        yield from _doubled_rows(folder, table, [block for block in done if part(table, block) in known[block].keys() - wrong])
    yield from _missing_rows(folder, blocks, done)


@dataclass(frozen=True)
class Wrong:
    """Something that is not as a run wrote it.

    Attributes:
        what: The file, or the line of the log.
        said: What is wrong with it.
    """

    what: str
    said: str

    def __str__(self) -> str:
        return f"{self.what} {self.said}"


def written(folder: Path) -> tuple[dict[str, str], list[Wrong]]:
    """The SHA-256 of every file, as it is now, that a run's log names; and which are not what was written.

    Raises:
        DataError: The folder is no run's.
    """
    read_document(folder)
    damaged: list[str] = []
    logged = {name: digest for line in entries(folder, damaged) for name, digest in line.files.items()}
    wrong = [Wrong(one, "of the log cannot be read") for one in damaged]
    found = {name: sha256(folder / name) for name in logged if is_file(folder / name)}
    wrong += [
        Wrong(name, "is missing" if name not in found else "is not what was written") for name in logged if found.get(name) != logged[name]
    ]
    return found, wrong


def _changed(folder: Path, name: str, expected: str) -> str:
    """What is wrong with a file, in words."""
    if not is_file(folder / name):
        return f"{name} is missing; the same command makes it again"
    return "" if sha256(folder / name) == expected else f"{name} is not what was written; remove it, and the same command makes it again"


def _is_part(name: str) -> bool:
    return len(Path(name).parts) == 3 and name.startswith("parts/") and name.endswith(".parquet")


def _other_results(folder: Path, results: Mapping[str, str]) -> Iterator[str]:
    """Results that hold other rows than the parts that they are made of, or as many but not the same."""
    for name in sorted(results):
        parts = sorted((folder / "parts" / Path(name).stem).glob("*.parquet"))
        if not parts or Path(name).suffix not in (".csv", ".parquet"):
            continue
        try:
            made = pl.scan_csv(folder / name) if name.endswith(".csv") else pl.scan_parquet(folder / name)
            columns = made.collect_schema().names()
            tell = [pl.len(), *([] if name.endswith(".csv") else [pl.struct(columns).hash().sum().alias("rows")])]
            found, due = (rows.select(tell).collect().row(0) for rows in (made, pl.scan_parquet(parts).select(columns)))
        except (pl.exceptions.PolarsError, OSError) as error:
            yield f"{name} cannot be read: {str(error).splitlines()[0]}"
            continue
        if found[0] != due[0]:
            yield f"{name} has {found[0]} rows where its parts have {due[0]}; remove it, and the same command makes it again"
        elif found != due:
            yield f"{name} has other rows than its parts; remove it, and the same command makes it again"


def _doubled_rows(folder: Path, table: str, blocks: list[int]) -> Iterator[str]:
    """Rows that a table has twice within a block, and images that two blocks have rows of."""
    seen: dict[Any, int] = {}
    for block in blocks:
        rows = _table(folder, table, block)
        if rows is None:
            yield f"{part(table, block)} cannot be read as a table"
            continue
        keys = ["image", "explainer", "measure"]
        own = rows.select(keys) if set(keys) <= set(rows.columns) and table == "scores" else rows
        if own.is_duplicated().any():
            what = "a score" if table == "scores" else f"a row of {table}"
            yield f"block {block} has {what} twice"
        if "image" not in rows.columns:
            continue
        # A study of several models has an image's rows of each model, part and quantity in other steps.
        apart = [name for name in _APART if name in rows.columns] if "model" in rows.columns else []
        images = rows.select("image", *apart).rows()
        twice = {image for image in images if image in seen}
        if table == "status":
            twice |= {image for image, many in Counter(images).items() if many > 1}
        for image in sorted({image for image, *_ in twice}):
            yield f"image {image} is there twice" + ("" if table == "status" else f" in {table}")
        seen.update(dict.fromkeys(images, block))


def _missing_rows(folder: Path, blocks: Blocks, done: list[int]) -> Iterator[str]:
    """Images without a status, and with fewer scores than others."""
    each: int | None = None
    for block in done:
        state = _table(folder, "status", block)
        if state is None or not {"image", "read"} <= set(state.columns):
            continue
        if len(state) != len(blocks.rows(block)):
            yield f"block {block} has {len(state)} images where {len(blocks.rows(block))} are due"
        scores = _table(folder, "scores", block)
        if scores is None or "image" not in scores.columns:
            continue
        read = state.filter(pl.col("read"))["image"].to_list()
        counts = Counter(scores["image"].to_list())
        each = each or max(counts.values(), default=0)
        for image in read:
            if counts[image] != each:
                yield f"image {image} has {counts[image]} scores where {each} are due"


def _table(folder: Path, name: str, block: int) -> pl.DataFrame | None:
    path = folder / part(name, block)
    if not is_file(path):
        return None
    try:
        with contained():
            return pl.read_parquet(path, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError):
        return None


def _blocks(document: dict[str, Any]) -> Blocks:
    cut = document.get("blocks") or {"images": 0, "size": 1}
    images, size = cut["images"], cut["size"]
    if not (isinstance(images, int) and isinstance(size, int) and 0 <= images < 1 << 53 and size >= 1):
        raise TypeError(f"blocks of {size!r} of {images!r} images cannot be")
    return Blocks(images, size, str(cut.get("unit", Blocks.unit)))


def _latest(folder: Path, starts: list[dict[str, Any]], held: set[str]) -> list[Entry]:
    """The lines of the last start; where that was a part's, those of the latest starts of the parts at work, or of all parts."""
    last = len(starts) - 1
    part_of = {number: str(start["part"]) for number, start in enumerate(starts) if "part" in start}
    lines = [line for line in entries(folder) if line.start == last or (last in part_of and line.start in part_of)]
    if last not in part_of:
        return lines
    latest = {name: number for number, name in part_of.items()}
    own = [line for line in lines if latest[part_of[line.start]] == line.start]
    return [line for line in own if f"lock-{part_of[line.start].replace(' ', '-')}" in held] or own
