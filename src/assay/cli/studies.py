"""Commands made from studies: a study's fields are its options, its docstring is the help."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.app import app
from assay.cli.progress import bar
from assay.cli.tasks.images import Task, share
from assay.cli.tasks.train import TrainTask
from assay.cli.tasks.tune import TuneTask
from assay.cli.told import OVER, Told
from assay.cli.told import tell as say

if TYPE_CHECKING:
    from assay.core.ranks import Ranks
    from assay.study.study import Experiment, Report

__all__ = ["STUDIES", "TASKS", "add_studies", "tell"]

STUDIES = {
    "audit": ("assay.study.audit.study", "AuditStudy"),
    "explain": ("assay.study.explain", "ExplainStudy"),
    "attack": ("assay.study.attack.attack", "AttackStudy"),
    "certify": ("assay.study.certify", "CertifyStudy"),
    "frontier": ("assay.study.frontier.study", "FrontierStudy"),
    "train": ("assay.study.train", "TrainStudy"),
    "tune": ("assay.study.tune", "TuneStudy"),
}
"""The module and class of each study's command."""
TASKS: dict[str, type[Task | TrainTask | TuneTask]] = {"train": TrainTask, "tune": TuneTask}
"""What a command is told beside its study's fields, where that is not a model and images."""

_NONE = type(None)


def add_studies(named: Sequence[str]) -> None:
    """Give the command line the studies' commands.

    Args:
        named: Those whose options are wanted; of the others only the help's first lines are, which no import is made for.
    """
    for name, (module, kind) in STUDIES.items():
        if name in named:
            _add(getattr(import_module(module), kind))
        elif name not in (one.name for one in app.registered_commands):
            _announce(name, module, kind)


def _add(study: type[Experiment]) -> None:
    """The study's command, whose options are those of its task and the study's fields."""
    kind = TASKS.get(study.command, Task)
    parameters = [*_parameters(kind, {}), *_parameters(study, _helps(study))]
    parameters.sort(key=lambda one: one.default is not inspect.Parameter.empty)
    shared = {one.name for one in dataclasses.fields(kind)}

    def command(**given: Any) -> None:
        task = kind(**{name: given.pop(name) for name in shared})
        _run(study, task, given)

    command.__doc__ = _lead(inspect.getdoc(study) or "")
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    app.registered_commands[:] = [one for one in app.registered_commands if one.name != study.command]
    app.command(study.command)(command)


def _announce(name: str, module: str, kind: str) -> None:
    """A command of which only the purpose is known, read from the source."""
    home = find_spec(module)
    assert home is not None
    assert home.origin is not None
    body = ast.parse(Path(home.origin).read_text(encoding="utf-8")).body
    found = next(one for one in body if isinstance(one, ast.ClassDef) and one.name == kind)

    def command() -> None:
        raise AssertionError(f"{name} was announced only")

    command.__doc__ = _lead(ast.get_docstring(found) or "")
    app.command(name)(command)


def _lead(doc: str) -> str:
    return doc.partition("\n\nAttributes:")[0]


def tell(report: Report, folder: Path) -> None:
    """Print what a study comes to, and where its results are."""
    what, name = report.main
    place = report.moved.get(name, folder / name)
    say(Told(report.sentences, report.grids, (*report.said, *((OVER,) if report.over else ())), (what, str(place))))


def _run(kind: type[Experiment], task: Task | TrainTask | TuneTask, given: Mapping[str, Any]) -> None:
    from assay.core.progress import silent
    from assay.core.ranks import join
    from assay.errors import DataError
    from assay.run.begin import check_folder
    from assay.study.study import run

    with join(task.device) as ranks, bar() if ranks.first else nullcontext(silent) as progress:
        with ranks.together():
            if isinstance(task, Task):
                task.import_code()
            part = share(task.part, ranks) if isinstance(task, Task) else None
            study = _built(kind, given)
            asked: Any = task.asked(ranks)
            study.check(asked)
            check_folder(task.folder)
        asked = task.described(asked, ranks, progress)
        more: dict[str, Any] = {"block": task.block, "part": part} if isinstance(task, Task) else {}

        def ran(asked: Any) -> Report | None:
            return run(study, asked, task.folder, settings=task.settings(asked), ranks=ranks, progress=progress, **more)

        ready = _decided(study, task, asked, ranks)
        try:
            report = ran(ready)
        except DataError:
            # Another part may have begun the run meanwhile, and found another precision faster.
            again = _decided(study, task, asked, ranks) if part is not None else ready
            if again.model.precision == ready.model.precision:
                raise
            report = ran(again)
    if report is not None:
        tell(report, task.folder)


def _decided(study: Experiment, task: Task | TrainTask | TuneTask, asked: Any, ranks: Ranks) -> Any:
    """The same with the precision settled, of a study of images; else as it is."""
    return task.decided(study, asked, ranks) if isinstance(task, Task) else asked


def _helps(study: type[Experiment]) -> dict[str, str]:
    """What the docstring's section Attributes says of each field."""
    section = (inspect.getdoc(study) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _parameters(kind: type[Any], helps: Mapping[str, str]) -> list[inspect.Parameter]:
    """An option for each field; fields that are annotated with an option of their own keep it."""
    hints = typing.get_type_hints(kind, include_extras=True)
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


def _built(kind: type[Experiment], given: Mapping[str, Any]) -> Experiment:
    """The study of the options that were given."""
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
    if origin is Literal or hint in (int, float, bool, str, Path):
        return value
    if hasattr(hint, "from_text"):
        return hint.from_text(value)
    base: Callable[..., Any] = hint
    return build(value, base)
