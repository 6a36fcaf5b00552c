"""How far a run is, and whether what it has written is what it logged."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from assay.core.files import sha256
from assay.errors import DataError
from assay.study.blocks import Blocks
from assay.study.run_files import ENVIRONMENT, LOCK, LOGS, SETTINGS, UNREAD, finished_blocks, part
from assay.study.run_lock import Lock
from assay.study.run_log import FINISH, read_log
from assay.study.run_settings import read_settings

__all__ = ["Status", "first_start", "read_document", "status", "verify"]


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
        rate: Images per second of all processes of the last start, or None where it has finished no block.
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
    rate: float | None
    states: tuple[str, ...]

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at this rate, or None where it is unknown."""
        return (self.blocks.images - self.images) / self.rate if self.rate else None


def read_document(folder: Path) -> dict[str, Any]:
    """A run's command, version, blocks and settings.

    Raises:
        DataError: The folder is no run's.
    """
    if not (folder / SETTINGS).exists():
        raise DataError(f"{folder} is no run folder: there is no {folder / SETTINGS}")
    return read_settings(folder / SETTINGS)


def first_start(folder: Path) -> dict[str, Any]:
    """What is known of a run's first start: directory, command line, machine.

    Raises:
        DataError: It cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))["starts"][0]
    except (OSError, ValueError, LookupError) as error:
        raise DataError(f"cannot read {folder / ENVIRONMENT}: {error}") from error
    return found


def status(folder: Path) -> Status:
    """How far the run in a folder is; it may be going on.

    Raises:
        DataError: The folder is no run's.
    """
    document = read_document(folder)
    blocks, finished = _blocks(document), finished_blocks(folder)
    done = finished - {FINISH}
    starts = len(json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))["starts"]) if (folder / ENVIRONMENT).exists() else 0
    return Status(
        command=document["command"],
        version=document["assay"],
        blocks=blocks,
        done=len(done),
        images=sum(len(blocks.rows(block)) for block in done),
        running=Lock(folder / LOCK).is_held(),
        over=FINISH in finished and len(done) == len(blocks),
        starts=starts,
        rate=_rate(folder, starts - 1),
        states=tuple(sorted(path.stem for path in (folder / "state").glob("*.safetensors") if not path.name.startswith("."))),
    )


def verify(folder: Path) -> Iterator[str]:
    """What is wrong with a run's files and rows, in words; nothing where all is well.

    Every file is read again and held against the hash in the log, and the tables' rows are held against the images.

    Raises:
        DataError: The folder is no run's.
    """
    blocks = _blocks(read_document(folder))
    damaged: list[str] = []
    known: dict[int, dict[str, str]] = {}
    for line in read_log(folder / LOGS, damaged):
        first = known.setdefault(line.block, dict(line.files))
        if first != line.files and line.block != FINISH:
            yield f"block {line.block} was done twice with different results"
        known[line.block] = dict(line.files)
    yield from (f"{one} of the log cannot be read" for one in damaged)
    sound = True
    for block, files in sorted(known.items()):
        for one in _changed(folder, files):
            sound = False
            yield one
        if block != FINISH and not 0 <= block < len(blocks):
            yield f"there is a block {block}, but the run has {len(blocks)}"
    if FINISH in known:
        yield from (f"the run is finished, but block {block} is missing" for block in range(len(blocks)) if block not in known)
        if sound:
            yield from _short_results(folder, known[FINISH])
    yield from _wrong_rows(folder, blocks, sorted(known.keys() - {FINISH}))


def _changed(folder: Path, files: dict[str, str]) -> Iterator[str]:
    for name, expected in files.items():
        path = folder / name
        if not path.exists():
            yield f"{name} is missing; the same command makes it again"
        elif sha256(path) != expected:
            yield f"{name} is not what was written; remove it, and the same command makes it again"


def _short_results(folder: Path, results: Mapping[str, str]) -> Iterator[str]:
    """Results that hold other than all rows of the parts that they are made of."""
    for name in sorted(results):
        parts = sorted((folder / "parts" / Path(name).stem).glob("*.parquet"))
        if not parts or not (folder / name).exists():
            continue
        made = pl.scan_csv(folder / name) if name.endswith(".csv") else pl.scan_parquet(folder / name)
        found, due = (rows.select(pl.len()).collect().item() for rows in (made, pl.scan_parquet(parts)))
        if found != due:
            yield f"{name} has {found} rows where its parts have {due}; remove it, and the same command makes it again"


def _wrong_rows(folder: Path, blocks: Blocks, done: list[int]) -> Iterator[str]:
    """Missing and doubled rows of the tables status and scores."""
    seen: set[int] = set()
    each: int | None = None
    for block in done:
        state = _table(folder, "status", block)
        if state is None:
            continue
        if len(state) != len(blocks.rows(block)):
            yield f"block {block} has {len(state)} images where {len(blocks.rows(block))} are due"
        images = state["image"].to_list()
        twice = sorted({image for image in images if image in seen} | {image for image, many in Counter(images).items() if many > 1})
        yield from (f"image {image} is there twice" for image in twice)
        seen.update(images)
        scores = _table(folder, "scores", block)
        if scores is None:
            continue
        if scores.select("image", "explainer", "measure").is_duplicated().any():
            yield f"block {block} has a score twice"
        read = state.filter(~pl.col("status").str.starts_with(UNREAD))["image"].to_list()
        counts = Counter(scores["image"].to_list())
        each = each or max(counts.values(), default=0)
        for image in read:
            if counts[image] != each:
                yield f"image {image} has {counts[image]} scores where {each} are due"


def _table(folder: Path, name: str, block: int) -> pl.DataFrame | None:
    path = folder / part(name, block)
    try:
        return pl.read_parquet(path) if path.exists() else None
    except pl.exceptions.PolarsError:
        return None  # Its hash is wrong, which has been said.


def _blocks(document: dict[str, Any]) -> Blocks:
    cut = document.get("blocks") or {"images": 0, "size": 1}
    return Blocks(cut["images"], cut["size"], cut.get("unit", Blocks.unit))


def _rate(folder: Path, start: int) -> float | None:
    rows: defaultdict[int, int] = defaultdict(int)
    seconds: defaultdict[int, float] = defaultdict(float)
    for line in read_log(folder / LOGS):
        if line.start == start and line.block != FINISH:
            rows[line.rank] += line.rows
            seconds[line.rank] += line.seconds
    return sum(rows[rank] / max(seconds[rank], 1e-9) for rank in rows) or None
