"""`assay data check` tells what would be read, without a network."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import assay.cli.commands.data  # noqa: F401  (registers the commands)
from assay.cli.app import app
from assay.errors import DataError


def run(*arguments):
    return CliRunner().invoke(app, ["data", "check", *map(str, arguments)], env={"COLUMNS": "600"})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(3):
        Image.fromarray(np.full((10, 12 + number), 40 * number, np.uint8)).save(tmp_path / "scans" / f"{number}.png")
    Image.fromarray(np.full((10, 12), 255, np.uint8)).save(tmp_path / "masks" / "0.png")
    (tmp_path / "scans" / "broken.png").write_bytes(b"")
    (tmp_path / "scans" / "notes.txt").write_text("")
    (tmp_path / "labels.csv").write_text("file,finding\n0.png,none\n1.png,nodule\n")
    return tmp_path


def test_it_tells_sizes_labels_masks_and_what_is_left_out(folder):
    beside = ("--labels", f"{folder}/labels.csv:file:finding", "--masks", folder / "masks", "--size", 8, "--channels", 1)
    told = run(folder / "scans", *beside, "--sheet", folder / "sheet.png")
    assert told.exit_code == 0, told.output
    for line in (
        "images: 3 of 4 can be read",
        "sizes: 3 of 8 x 8, grey; values from 0 to 0.314",
        "labels: 1 of none, 1 of nodule, 1 no label",
        "truth: 1 images with a mask that is not empty",
        "left out, being no images: 1 .txt",
        "cannot be read: ",
        "3 images drawn in",
    ):
        assert line in told.output
    with Image.open(folder / "sheet.png") as picture:
        assert picture.format == "PNG"


def test_images_of_several_sizes_are_told_with_what_to_do(folder):
    told = run(folder / "scans")
    assert told.exit_code == 0
    assert "1 of 12 x 10, RGB" in told.output
    assert "beware: the images of" in told.output
    assert "--size 224" in told.output


def test_images_of_12_bits_in_16_are_told_to_be_dark_until_a_range_is_given(tmp_path):
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(tmp_path / "a.png")
    assert "beware: no value is above 0.0625; where files hold fewer bits" in run(tmp_path).output
    assert "beware" not in run(tmp_path, "--range", 0, 4095).output


def test_mistakes_raise_one_clear_error(folder, tmp_path):
    (tmp_path / "none").mkdir()
    for words, message in ((("--sheet", "x.jpg"), "ends in .png"), (("--interpolation", "bilinear"), "--interpolation says how")):
        assert message in str(run(folder / "scans", *words).exception)
    assert isinstance(run(tmp_path / "none").exception, DataError)
