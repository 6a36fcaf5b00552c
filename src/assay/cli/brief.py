"""Help that fits a screen: `-h` explains the options that most need and names the others, `--help` explains all, in groups."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Any, Literal

from typer.core import TyperCommand
from typer.models import OptionInfo

__all__ = ["GROUPS", "BriefCommand", "grouped"]

GROUPS: dict[str, tuple[str, ...]] = {
    "The model": ("random_weights", "mean", "std", "classes", "precision", "matmul_precision", "output", "head", "device"),
    "Pictures, and what is known of them": (
        *("resize", "crop", "interpolation", "letterbox", "channels", "range", "window", "separator", "boxes", "split", "mosaic"),
    ),
    "The results": (
        *("preset", "gallery", "keep_maps", "keep_top", "smallest_effect", "null"),
        *("otherwise", "attacked", "compare", "within", "confidence"),
    ),
    "How it runs": ("imports", "block", "workers", "part", "threads", "root"),
}
"""Options that few need, by what they are about."""
_WORDS: dict[Any, str] = {int: "N", float: "X", bool: "", Path: "PATH"}
_BRIEF = "assay.brief"


class BriefCommand(TyperCommand):
    """A command that leaves the options of `GROUPS` to `--help` when it is asked by `-h`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note by which word help was asked."""
        ctx.meta[_BRIEF] = "-h" in args and "--help" not in args
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        groups = {name: [one for one in self.params if getattr(one, "rich_help_panel", None) == name] for name in GROUPS}
        rare = [one for own in groups.values() for one in own]
        if not rare or not ctx.meta.get(_BRIEF):
            super().format_help(ctx, formatter)
            return
        short = copy(self)
        short.params = [one for one in self.params if one not in rare]
        told = [f"{name}: {', '.join(one.opts[0] for one in own)}." for name, own in groups.items() if own]
        head = f"{ctx.command_path} --help explains {len(rare)} more options."
        short.epilog = "\n\n".join([head, *told, *([self.epilog] if self.epilog else [])])
        TyperCommand.format_help(short, ctx, formatter)


def grouped(options: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """The options with their groups, and with words for their values short enough to leave room for what they mean."""
    homes = {name: group for group, names in GROUPS.items() for name in names}
    found = []
    for one in options:
        hint, *notes = typing.get_args(one.annotation)
        told = [copy(note) for note in notes]
        for note in told:
            if isinstance(note, OptionInfo):
                choices = _choices(hint)
                note.metavar = _word(hint) if note.metavar is None else note.metavar
                note.help = f"{note.help} One of: {', '.join(choices)}." if choices else note.help
                note.rich_help_panel = homes.get(one.name) if one.default is not inspect.Parameter.empty else None
        found.append(one.replace(annotation=Annotated[hint, *told]))
    return found


def _choices(hint: Any) -> tuple[str, ...]:
    """The words that an option takes, where it takes no others."""
    found = [_choices(one) for one in typing.get_args(hint)] if typing.get_origin(hint) in (typing.Union, types.UnionType) else []
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else next((one for one in found if one), ())


def _word(hint: Any) -> str:
    """What stands for an option's value."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _word(next(one for one in inner if one is not types.NoneType))
    if origin is tuple:
        return " ".join(map(_word, inner))
    if origin is list:
        return _word(inner[0])
    return "WORD" if origin is Literal else _WORDS.get(hint, "TEXT")
