"""What is where in a run folder, for whoever only looks."""

from __future__ import annotations

from pathlib import Path

from assay.run.log import read_log

__all__ = ["ENVIRONMENT", "LOCK", "LOGS", "SETTINGS", "UNREAD", "finished_blocks", "part"]

SETTINGS, ENVIRONMENT, LOGS = "run.toml", "environment.json", "log"
LOCK = "lock"
UNREAD = "cannot be read: "
"""What the status of an image begins with whose file is damaged."""


def finished_blocks(folder: Path) -> set[int]:
    """Numbers of the blocks in a run's log whose files are all there; `FINISH` among them when the results are."""
    return {line.block for line in read_log(folder / LOGS) if all((folder / name).exists() for name in line.files)}


def part(table: str, block: int) -> str:
    """Where a block's rows of a table are, within the folder."""
    return f"parts/{table}/{block:06d}.parquet"
