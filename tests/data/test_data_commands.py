import pytest
from PIL import Image
from typer.testing import CliRunner

import assay.cli.commands.data  # noqa: F401  (registers the commands)
from assay.cli.app import app
from assay.errors import DataError, SpecError


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)], env={"COLUMNS": "600"})


def test_list_shows_counts_and_places(cifar_tar, monkeypatch):
    monkeypatch.setenv("ASSAY_DATA", str(cifar_tar))
    result = run("list")
    assert result.exit_code == 0
    assert "8000" in result.output
    assert "cifar10-test-half.tar" in result.output
    assert "download cifar10" in result.output


def test_list_works_without_any_data(monkeypatch):
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    result = run("list")
    assert result.exit_code == 0
    assert "hard-digits" in result.output
    assert "ASSAY_DATA" in result.output


def test_preview_writes_a_picture(tmp_path):
    result = run("preview", "hard-digits", "--count", 3, "--split", "val", "--size", 32, "--out", tmp_path / "x.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.format == "PNG"
    assert "HardDigits(split='val', size=32" in result.output


def test_preview_names_and_counts_corrupt_files(classes_folder, tmp_path):
    (classes_folder / "cat" / "a.png").write_bytes(b"")
    result = run("preview", classes_folder, "--out", tmp_path / "x.png")
    assert result.exit_code == 0
    assert "1 of the chosen images cannot be read" in result.output
    assert "a.png: the file is empty" in result.output
    assert "4 of 5 images" in result.output


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["preview", "hard-digit", "--out", "x.png"], DataError, "did you mean hard-digits"),
        (["preview", "hard-digits", "--out", "x.jpg"], DataError, "ends in .png"),
        (["preview", "hard-digits", "--count", "0", "--out", "x.png"], DataError, "cannot choose 0"),
        (["preview", "hard-digits", "--split", "tets", "--out", "x.png"], SpecError, "did you mean test"),
        (["download", "hard-digits", "--root", "x"], DataError, "built in"),
        (["download", "mnist", "--root", "x"], DataError, "cannot download 'mnist'"),
    ],
)
def test_mistakes_raise_one_clear_error(arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []
