import json

import pytest

from assay.cli.told import print_grid, table_parts
from assay.study.study import TerminalTable

HEAD = ("explainer", "Deletion ↓", "Insertion ↑", "AttackedSimilarity ↑", "MaxSensitivity ↓")
ROWS = (
    ("Gradient", "0.082 +", "0.711 =", "0.210 -", "0.044 +"),
    ("KernelShap(samples=100, segments=TerminalTable(rows=7, columns=7))", "0.104 +", "0.655 +", "0.540 +", "0.310 +"),
)
AUDIT = (
    "audit",
    "--model",
    "python:mynets:good",
    "--images",
    "pictures",
    "--out",
    "out",
    "--explainer",
    "Gradient",
    "--measure",
    "Deletion(steps=3)",
)


@pytest.fixture
def narrow(run, monkeypatch):
    """The command line on a terminal of 80 columns."""

    def call(*arguments):
        monkeypatch.setattr("shutil.get_terminal_size", lambda *_: (80, 24))
        setenv = monkeypatch.setenv
        monkeypatch.setattr(monkeypatch, "setenv", lambda name, value: setenv(name, "80" if name == "COLUMNS" else value))
        return run(*arguments)

    return call


def widest(head, rows):
    """The longest line of each column, added, with two spaces between."""
    columns = zip(head, *rows, strict=True)
    return sum(max(len(line) for cell in column for line in cell.split("\n")) + 2 for column in columns) - 2


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_part_of_a_table_fits_and_all_cells_are_there_once(width):
    parts = list(table_parts(HEAD, ROWS, width))
    assert all(widest(head, rows) <= width for head, rows in parts)
    assert [one.replace("\n", " ") for head, _ in parts for one in head[1:]] == list(HEAD[1:])
    assert [cell for _, rows in parts for cell in rows[0][1:]] == list(ROWS[0][1:])
    assert all(rows[1][0].replace("\n", "").replace(" ", "") == ROWS[1][0].replace(" ", "") for _, rows in parts)


def test_a_wide_terminal_gets_one_table():
    assert len(list(table_parts(HEAD, ROWS, 200))) == 1


def test_specs_go_on_after_brackets_and_commas_and_no_word_is_broken():
    (_, rows), *_ = table_parts(HEAD, ROWS, 80)
    assert rows[1][0].split("\n") == ["KernelShap(samples=100,", "segments=TerminalTable(rows=7,", "columns=7))"]


def test_a_word_that_is_wider_than_the_terminal_is_cut_and_loses_nothing():
    (_, rows), *_ = table_parts(("file", "n"), [("x" * 90, "1")], 60)
    assert "".join(rows[0][0].split("\n")) == "x" * 90
    assert max(map(len, rows[0][0].split("\n"))) <= 30


def test_an_audit_says_its_verdict_first_and_fits_80_columns(place, narrow):
    found = narrow(*AUDIT)
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    assert lines[0] == "None of these explainers is shown to be trustworthy here."
    assert all(len(line) <= 80 for line in lines)
    assert " to " not in next(line for line in lines if line.strip().startswith("Gradient "))
    assert "\x1b" not in found.out


def test_intervals_are_shown_on_demand_also_after_the_command(place, run):
    found = run(*AUDIT, "--intervals")
    assert " to " in next(line for line in found.out.splitlines() if line.strip().startswith("Gradient "))


def test_quiet_says_the_verdict_and_the_place_and_nothing_on_standard_error(place, run):
    found = run(*AUDIT, "--quiet")
    assert found.out.splitlines() == ["None of these explainers is shown to be trustworthy here.", "report: out/report.html"]
    assert "audit:" not in found.err


def test_json_is_one_object_with_verdict_tables_and_place(place, run):
    told = json.loads(run("--json", *AUDIT).out)
    assert told["results"] == "out/report.html"
    assert told["headline"] in [one["text"] for one in told["verdict"]]
    assert {row["explainer"] for row in told["tables"][0]["rows"]} == {"Gradient", "random map"}


def test_one_call_does_not_change_the_manner_of_the_next(place, run):
    run(*AUDIT, "--quiet")
    assert "random map" in run(*AUDIT).out


def test_the_version_and_short_help_are_there(run):
    import assay

    assert run("--version").out.strip() == f"assay {assay.__version__}"
    for words in (("-h",), ("audit", "-h"), ("run", "status", "-h")):
        found = run(*words)
        assert (found.code, "Usage" in found.out) == (0, True)


def test_no_cell_and_no_heading_is_cut_by_what_stands_between_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    head = ("explainer", "measure", "images", "old", "new", "old, over random", "new, over random", "difference", "outcome")
    row = ("KernelShap(samples=20)", "MaxSensitivity ↓", "12", "0.167", "0.167", "0.017", "0.019", "−0.0015", "no change shown")
    print_grid(TerminalTable("Scores", head, (row, ("Gradient", *row[1:])), 2))
    told = capsys.readouterr().out
    assert "…" not in told
    assert max(map(len, told.splitlines())) <= 80
    assert all(cell in told for cell in row)


def test_every_part_of_a_table_says_which_row_is_which_by_all_its_keys():
    rows = [("Gradient", "Deletion", *(["0.12345"] * 6)), ("Gradient", "Insertion", *(["0.54321"] * 6))]
    parts = list(table_parts(("explainer", "measure", *"abcdef"), rows, 40, 2))
    assert len(parts) > 1
    assert all(head[:2] == ["explainer", "measure"] for head, _ in parts)
    assert all([line[:2] for line in lines] == [["Gradient", "Deletion"], ["Gradient", "Insertion"]] for _, lines in parts)


def test_long_headings_go_on_after_their_brackets():
    (head, _), *_ = table_parts(("explainer", "AttackedSimilarity(attack=MapAttack(steps=2)) ↑"), [("x" * 30, "0.5")], 40)
    assert head[1].split("\n") == ["AttackedSimilarity(", "attack=MapAttack(", "steps=2)) ↑"]


def test_a_grid_of_no_rows_is_drawn():
    grid = TerminalTable("nothing", ("a", "b"), ())
    assert list(table_parts(grid.head, grid.rows, 80)) == [(["a", "b"], [])]


def test_tables_are_printed_as_latex_and_as_markdown_with_their_intervals(place, run):
    told = run(*AUDIT, "--tex").out
    assert told.startswith("None of these explainers is shown to be trustworthy here.\n\\begin{table}")
    assert "\\begin{tabular}{lr}" in told
    assert "Deletion $\\downarrow$" in told
    assert " to " in next(line for line in told.splitlines() if line.startswith("Gradient &"))
    table = [line for line in run("--md", *AUDIT).out.splitlines() if line.startswith("|")]
    assert table[:2] == ["| explainer | Deletion ↓ |", "| --- | ---: |"]
    assert "random map" in table[-1]
