"""Tables in Markdown, and the places in a document where a command puts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from assay.core.whole_files import replacing
from assay.errors import DataError

__all__ = ["pipe_table", "put"]


def put(page: Path, text: str, marks: tuple[str, str]) -> None:
    """Put a text between two marks of a page.

    Raises:
        DataError: The page has no such marks, or there is none.
    """
    if not page.is_file():
        raise DataError(f"there is no page {page} to put the figures in")
    first, last = marks
    before, start, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not start or not end:
        raise DataError(f"{page} has no place for the figures; put these two lines into it: {first} and {last}")
    with replacing(page) as draft:
        draft.write_text(f"{before}{first}\n\n{text}\n\n{last}{after}", encoding="utf-8")


def pipe_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; what stands in its cells is taken as Markdown too."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
