"""Options made from the fields of frozen dataclasses, which is how every command that takes several is written."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import typer

from assay.cli.brief import BriefCommand, grouped

__all__ = ["Command", "command", "from_options", "parameters", "register_command"]

_NONE = type(None)


class Command(Protocol):
    """A command: its fields are its options, its docstring is the help."""

    def run(self) -> None:
        """Do it."""


Kind = TypeVar("Kind", bound=type[Command])
Made = TypeVar("Made")


def command(group: typer.Typer, name: str) -> Callable[[Kind], Kind]:
    """Decorator that gives a group of commands one more, from a frozen dataclass.

    Args:
        group: The commands beside it.
        name: How it is typed.
    """

    def add(kind: Kind) -> Kind:
        register_command(group, name, inspect.getdoc(kind) or "", parameters(kind), lambda given: from_options(kind, given).run())
        return kind

    return add


def register_command(
    group: typer.Typer, name: str, doc: str, options: list[inspect.Parameter], act: Callable[[dict[str, Any]], None]
) -> None:
    """Give a group of commands one more, in place of one of that name.

    Args:
        group: The commands beside it.
        name: How it is typed.
        doc: What it does, before its Attributes.
        options: Its options.
        act: Does it, with the options' values by name.
    """

    def called(**given: Any) -> None:
        act(given)

    options = sorted(grouped(options), key=lambda one: one.default is not inspect.Parameter.empty)
    called.__doc__ = _lead(doc)
    vars(called)["__signature__"] = inspect.Signature(options)
    called.__annotations__ = {one.name: one.annotation for one in options}
    group.registered_commands[:] = [one for one in group.registered_commands if one.name != name]
    group.command(name, cls=BriefCommand)(called)


def _lead(doc: str) -> str:
    """What a docstring says before its Attributes."""
    return doc.partition("\n\nAttributes:")[0]


def _helps(study: type[Any]) -> dict[str, str]:
    """What the docstring's section Attributes says of each field."""
    section = (inspect.getdoc(study) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def parameters(kind: type[Any]) -> list[inspect.Parameter]:
    """An option for each field; fields that are annotated with an option of their own keep it."""
    hints, helps = typing.get_type_hints(kind, include_extras=True), _helps(kind)
    found = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        if typing.get_origin(hint) is not Annotated:
            shown = _option(_word(hint))
            default = _default(default, shown)
            hidden = default is None
            hint = Annotated[shown, typer.Option(help=helps[field.name], show_default=not hidden)]
        found.append(inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint))
    return found


def _word(hint: Any) -> Any:
    """What stands for a type on the command line: the spec's text for a registered object."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return types.GenericAlias(tuple, (_word(inner[0]), ...))
    if origin in (typing.Union, types.UnionType):
        words = {_word(one) for one in inner if one is not _NONE}
        word = str if str in words else words.pop()
        return word | None if _NONE in inner else word
    return hint if origin is Literal or hint in (int, float, bool, str, Path) else str


def _option(word: Any) -> Any:
    """A type that Typer takes."""
    if typing.get_origin(word) is tuple:
        return types.GenericAlias(list, typing.get_args(word)[:1])
    if typing.get_origin(word) in (typing.Union, types.UnionType):
        return _option(next(one for one in typing.get_args(word) if one is not _NONE)) | None
    return word


def _default(value: Any, option: Any) -> Any:
    from assay.core.registry import short

    if isinstance(value, tuple):
        return [_default(one, option) for one in value]
    return short(value) if dataclasses.is_dataclass(value) else value


def from_options(kind: type[Made], given: Mapping[str, Any]) -> Made:
    """What the options that were given make."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(hints[name], value) for name, value in given.items()})


def _value(hint: Any, value: Any) -> Any:
    """What an option's word stands for.

    Raises:
        SpecError: It is no spec of what the field takes.
    """
    from assay.core.registry import build

    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None or (value == [] and _NONE in inner):
            return None
        if any(typing.get_origin(one) is Literal and value in typing.get_args(one) for one in inner):
            return value
        return _value(next(one for one in inner if one is not _NONE and typing.get_origin(one) is not Literal), value)
    if origin is tuple:
        return tuple(_value(inner[0], one) for one in value)
    if origin in (Literal, list) or hint in (int, float, bool, str, Path):
        return value
    if hasattr(hint, "from_text"):
        return hint.from_text(value)
    base: Callable[..., Any] = hint
    return build(value, base)
