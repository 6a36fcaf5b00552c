"""Every notebook runs from top to bottom on data that the package brings."""

import json
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "notebooks"


def cells(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("name", ["first-audit", "choosing-sigma", "shortcut"])
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "notebook"}
    for place, code in enumerate(cells(HERE / f"{name}.ipynb")):
        exec(compile(code, f"{name}, code cell {place}", "exec"), names)


@pytest.mark.parametrize("path", sorted(HERE.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_its_code_compiles(path):
    book = json.loads(path.read_text("utf-8"))
    assert book["nbformat"] == 4
    assert all(not cell["outputs"] for cell in book["cells"] if cell["cell_type"] == "code")
    for code in cells(path):
        compile(code, path.name, "exec")
