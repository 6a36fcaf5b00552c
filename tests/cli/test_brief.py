import pytest
import typer

from assay.cli.app import app
from assay.cli.brief import GROUPS
from assay.cli.studies import STUDIES, add_studies


@pytest.fixture(scope="module")
def options():
    """The options of every command that a study makes, by command."""
    add_studies(list(STUDIES))
    commands = typer.main.get_command(app).commands
    return {name: {one.name: one for one in commands[name].params} for name in STUDIES}


def narrow(run, monkeypatch, *words):
    """What the command line says on a terminal of 80 columns."""
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)
    found = run(*words)
    assert found.code == 0, found.err
    return found.out


def test_the_short_help_of_an_audit_explains_the_usual_options_and_names_all_others(run, monkeypatch, options):
    told = narrow(run, monkeypatch, "audit", "-h")
    assert max(map(len, told.splitlines())) <= 80
    assert len(told.splitlines()) < 90
    assert "Folder of masks of the evidence" in told
    assert "How --resize interpolates" not in told
    assert all(one.opts[0] in told for one in options["audit"].values())


def test_the_long_help_explains_every_option_in_its_group(run, monkeypatch):
    told = narrow(run, monkeypatch, "audit", "--help")
    assert "How --resize interpolates" in told
    assert all(f"─ {group} ─" in told for group in GROUPS)
    assert "explains" not in told


def test_the_words_that_an_option_takes_are_told_where_there_are_no_others(options):
    null, head, size = (options["audit"][name] for name in ("null", "head", "size"))
    assert null.help.endswith("One of: shift, phase.")
    assert head.help.endswith("One of: softmax, sigmoid, binary, scalar.")
    assert (null.metavar, size.metavar, options["audit"]["range"].metavar) == ("WORD", "N", "X X")


def test_every_grouped_option_is_some_commands(options):
    known = {name for own in options.values() for name in own}
    assert [name for names in GROUPS.values() for name in names if name not in known] == []


def test_no_required_option_is_left_to_the_long_help(options):
    assert not [one.name for own in options.values() for one in own.values() if one.required and one.rich_help_panel]
