"""Commands made from studies: a study's fields are its options, its docstring is the help."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.app import app
from assay.cli.fields import from_options, parameters, register_command
from assay.cli.progress_bar import bar
from assay.cli.tasks.images import Task, part_of_run
from assay.cli.tasks.train import TrainTask
from assay.cli.tasks.tune import TuneTask
from assay.cli.told import OVER, Told
from assay.cli.told import tell as say

if TYPE_CHECKING:
    from assay.study.study import Experiment, Report

__all__ = ["STUDIES", "TASKS", "add_studies", "tell_report"]

STUDIES = {
    "audit": ("assay.study.audit.study", "AuditStudy"),
    "explain": ("assay.study.explain", "ExplainStudy"),
    "attack": ("assay.study.attack.study", "AttackStudy"),
    "certify": ("assay.study.certify_study", "CertifyStudy"),
    "frontier": ("assay.study.frontier.study", "FrontierStudy"),
    "train": ("assay.study.train", "TrainStudy"),
    "tune": ("assay.study.tune", "TuneStudy"),
}
"""The module and class of each study's command."""
TASKS: dict[str, type[Task | TrainTask | TuneTask]] = {"train": TrainTask, "tune": TuneTask}
"""What a command is told beside its study's fields, where that is not a model and images."""


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
    shared = {one.name for one in dataclasses.fields(kind)}

    def act(given: dict[str, Any]) -> None:
        task = kind(**{name: given.pop(name) for name in shared})
        _run(study, task, given)

    register_command(app, study.command, inspect.getdoc(study) or "", [*parameters(kind), *parameters(study)], act)


def _announce(name: str, module: str, kind: str) -> None:
    """A command of which only the purpose is known, read from the source."""
    home = find_spec(module)
    assert home is not None
    assert home.origin is not None
    body = ast.parse(Path(home.origin).read_text(encoding="utf-8")).body
    found = next(one for one in body if isinstance(one, ast.ClassDef) and one.name == kind)

    def act(_given: dict[str, Any]) -> None:
        raise AssertionError(f"{name} was announced only")

    register_command(app, name, ast.get_docstring(found) or "", [], act)


def tell_report(report: Report, folder: Path) -> None:
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
            part = part_of_run(task.part, ranks) if isinstance(task, Task) else None
            study = from_options(kind, given)
            asked: Any = task.asked(ranks)
            study.check(asked)
            check_folder(task.folder)
        more: dict[str, Any] = {}
        if isinstance(task, Task):
            more = {"block": task.block, "part": part}
            asked = task.described(asked, ranks, progress)

        def ran(asked: Any) -> Report | None:
            return run(study, asked, task.folder, settings=task.settings(asked), ranks=ranks, progress=progress, **more)

        ready = task.decided(study, asked, ranks) if isinstance(task, Task) else asked
        try:
            report = ran(ready)
        except DataError:
            # Another part may have begun the run meanwhile, and found another precision faster.
            if part is None or not isinstance(task, Task):
                raise
            again = task.decided(study, asked, ranks)
            if again.model.precision == ready.model.precision:
                raise
            report = ran(again)
    if report is not None:
        tell_report(report, task.folder)
