import shlex

import pytest
import typer

from assay.cli.app import app
from assay.cli.examples import EXAMPLES
from assay.cli.studies import STUDIES, add_studies


@pytest.fixture(scope="module")
def root():
    from assay.cli.commands import bench, compare, data, demo, doctor, listing, run, study, view  # noqa: F401

    add_studies(list(STUDIES))
    return typer.main.get_command(app)


def leaves(command, before=()):
    """Every command with its words."""
    for name, one in getattr(command, "commands", {}).items():
        yield from leaves(one, (*before, name))
    if not hasattr(command, "commands"):
        yield " ".join(before), command


def test_every_command_has_an_example(root):
    assert {name for name, _ in leaves(root)} <= set(EXAMPLES)


def test_every_example_is_taken_by_its_command(root):
    for name, command in leaves(root):
        for example in EXAMPLES[name]:
            words = shlex.split(example)[1 + len(name.split()) :]
            words = [word for word in words if word != "--json"]  # Of `assay` itself.
            command.make_context(name, words)  # Which raises where an option is not there or lacks its value.


def test_examples_stand_below_the_help(run):
    told = " ".join(run("run", "status", "--help").out.split())
    assert "Example" in told
    assert "assay run status audit/" in told
